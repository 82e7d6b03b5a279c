// The panel that draws further samples.
import { button, make } from "./dom.js";
import * as jobs from "./jobs.js";
import { caseAddress, signal, state, watch } from "./state.js";
import { capital } from "./words.js";

const COUNTS = [4, 16, 64];
const HERE = "drawn"; // the source of what is drawn here
const PLACE = "place"; // the tool that points at a region

export function mount(element) {
  const region = makeRegion();
  const line = make("p", { className: "small quiet" });
  const start = (count) => () => jobs.start(count, region.text());
  const starts = COUNTS.map((count) => button(`+${count}`, `Draw ${count} more samples (+${count})`, start(count)));
  const row = make("div", { className: "row" }, ...starts);
  element.append(line, region.element, row, progress(), refusal());
  jobs.mount();
  watch([state.info, state.description, jobs.job, region.isMissing], () => {
    const reason = whyNot();
    line.textContent = reason ?? whatFollows();
    for (const one of starts) one.disabled = reason !== null || region.isMissing.value;
    row.hidden = jobs.job.value !== null;
  });
}

function whatFollows() {
  const { samples, needs_region: needsRegion } = state.description.value;
  if (needsRegion) return "The model saw crops of lesions: point at one, or write where it is.";
  return samples ? "Further samples follow those that are there, as in one longer draw." : "There are no samples yet.";
}

/** Why nothing can be drawn, or null. */
function whyNot() {
  const [info, description] = [state.info.value, state.description.value];
  if (!info || !description) return "…";
  if (!info.model.ready) return `${capital(info.model.reason)}.`;
  return description.has_image ? null : "There is no image to draw for; start with --data.";
}

function progress() {
  const bar = make("progress", { ariaLabel: "Drawing" });
  const line = make("span", { className: "small quiet number" });
  const stop = button("Cancel", "Cancel; nothing is added", async () => {
    stop.disabled = true;
    stop.disabled = await jobs.cancel();
  });
  const element = make("div", { className: "drawing" }, bar, line, stop);
  watch([jobs.job, state.caseId], () => {
    const job = jobs.job.value;
    element.hidden = !job;
    if (!job) return;
    if (!job.done) stop.disabled = job.id === null;
    if (job.total) Object.assign(bar, { max: job.total, value: job.done });
    else bar.removeAttribute("value");
    const where = job.case === state.caseId.value ? "" : "another case: ";
    const rest = job.done ? left(job) : "…";
    line.textContent = where + (job.isLost ? "the server does not answer; asking again" : rest);
  });
  return element;
}

function left({ done, total, begun }) {
  const seconds = ((performance.now() - begun) / done) * (total - done) / 1000;
  const time = seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
  return `${Math.floor((100 * done) / total)}%, about ${time} left`;
}

/** Why the latest request failed, and where it would not. */
function refusal() {
  const line = make("span");
  const other = button("Show what is drawn here", "Show what is drawn here", () => {
    location.hash = caseAddress(state.caseId.value, HERE, state.other.value);
  });
  const element = make("p", { className: "fault small", role: "alert" }, line, " ", other);
  watch([jobs.fault, state.caseId, state.source, state.info], () => {
    const fault = jobs.fault.value;
    element.hidden = fault?.case !== state.caseId.value;
    if (element.hidden) return;
    line.textContent = `${capital(fault.reason)}.`;
    const isThere = state.info.value.sources.some((one) => one.id === HERE);
    other.hidden = fault.status !== 409 || !isThere || state.source.value === HERE;
  });
  return element;
}

/** Where to draw, as --roi takes it: {element, text(), isMissing}. A click on the image fills it in. */
function makeRegion() {
  const isMissing = signal(false);
  const input = make("input", { type: "text", placeholder: "row,column,slice", spellcheck: false });
  const point = button("Point", "Point at the lesion in the image", () => {
    state.tool.value = state.tool.value === PLACE ? null : PLACE;
  });
  const element = make("div", { className: "region" }, make("label", {}, make("span", {}, "Region"), input), point);
  const check = () => {
    element.hidden = !state.description.value?.needs_region;
    isMissing.value = !element.hidden && !input.value.trim();
  };
  input.addEventListener("input", check);
  document.getElementById("stages").addEventListener("stroke", ({ detail }) => {
    if (state.tool.value !== PLACE || detail.phase !== "start") return;
    input.value = placeText(detail);
    state.tool.value = null;
    check();
  });
  watch([state.description], check);
  watch([state.caseId], () => (input.value = ""));
  watch([state.tool], () => point.setAttribute("aria-pressed", state.tool.value === PLACE));
  return { element, isMissing, text: () => (element.hidden ? "" : input.value.trim()) };
}

/** "row,column" of a plane, "row,column,slice" of a volume, in the order of its axes. */
function placeText({ row, column, slice, axis }) {
  const { shape } = state.description.value;
  const place = [Math.floor(row), Math.floor(column)];
  place.splice(axis, 0, slice);
  return place.slice(0, shape[2] > 1 ? 3 : 2).join(",");
}
