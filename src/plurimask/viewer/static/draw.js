// Drawing further samples: the panel, and the job that runs.
import { info, json, place, request } from "./api.js";
import { button, capital, make } from "./dom.js";
import { caseAddress, refresh, signal, state, watch } from "./state.js";

const COUNTS = [4, 16, 64];
const HERE = "drawn"; // the source of what is drawn here
const PLACE = "place"; // the tool that points at a region

export function mount(element) {
  const region = makeRegion();
  const line = make("p", { className: "small quiet" });
  const few = make("input", { type: "checkbox" });
  const reader = makeReader();
  const start = (count) => () => begin(count, region.text(), few.checked, reader.value());
  const starts = COUNTS.map((count) => button(`+${count}`, `Draw ${count} more samples (+${count})`, start(count)));
  const row = make("div", { className: "row" }, ...starts);
  const choice = make("label", { className: "small" }, few, " a panel that represents a pool");
  const tell = () => (line.textContent = whyNot() ?? whatFollows(few.checked, reader.value()));
  few.addEventListener("change", tell);
  reader.element.addEventListener("change", tell);
  element.append(line, region.element, reader.element, choice, row, progress(), refusal());
  followWhatRuns();
  watch([state.info, state.description, theJob, region.isMissing], () => {
    const reason = whyNot();
    tell();
    for (const one of starts) one.disabled = reason !== null || region.isMissing.value;
    row.hidden = choice.hidden = theJob.value !== null;
  });
}

function whatFollows(isRepresentative, reader) {
  const { samples, needs_region: needsRegion, settings } = state.description.value;
  if (needsRegion) return "The model saw crops of lesions: point at one, or write where it is.";
  if (isRepresentative) return "As few masks as you choose stand for many; they are shown as drawn here.";
  if (samples && reader !== (settings.reader ?? null)) return "They take the place of what is drawn here.";
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
  let cancelled = null; // the job that was told to stop
  const stop = button("Cancel", "Cancel; nothing is added", async () => {
    cancelled = theJob.value.id;
    stop.disabled = true;
    if (await cancel()) return;
    cancelled = null;
    stop.disabled = false;
  });
  const element = make("div", { className: "drawing" }, bar, line, stop);
  watch([theJob, state.caseId], () => {
    const job = theJob.value;
    element.hidden = !job;
    if (!job) return;
    stop.disabled = job.id === null || job.id === cancelled;
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
  watch([theFault, state.caseId, state.source, state.info], () => {
    const fault = theFault.value;
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

/** As whom to draw, of the readers whom the model knows: {element, value()}, null for any of them. */
function makeReader() {
  const select = make("select");
  const label = make("label", { className: "choice" }, make("span", {}, "as"), select);
  const element = make("div", { className: "row" }, label);
  watch([state.info, state.description], () => {
    const names = state.info.value?.model.readers ?? [];
    const any = make("option", { value: "" }, "any reader");
    select.replaceChildren(any, ...names.map((name) => make("option", { value: name }, name)));
    const shown = state.description.value?.settings.reader;
    select.value = names.includes(shown) ? shown : "";
    element.hidden = !names.length;
  });
  return { element, value: () => select.value || null };
}

/** "row,column" of a plane, "row,column,slice" of a volume, in the order of its axes. */
function placeText({ row, column, slice, axis }) {
  const { shape } = state.description.value;
  const place = [Math.floor(row), Math.floor(column)];
  place.splice(axis, 0, slice);
  return place.slice(0, shape[2] > 1 ? 3 : 2).join(",");
}

// The job: begin, follow, cancel.

const POLL = 1000; // ms between looks at a model that is being loaded

/** The job that runs: {id, case, source, state, done, total, begun}, `isLost` while the server is silent; or null. */
const theJob = signal(null);

/** Why the latest request or job failed: {case, status, reason}, or null. */
const theFault = signal(null);

/** Follow a job that runs already, and wait for a model that is being loaded. */
function followWhatRuns() {
  const off = state.info.on(({ job: running }) => {
    off();
    if (running) follow(running);
    waitForModel();
  });
}

/** Draw so many further samples for the shown case. */
async function begin(count, region, isRepresentative, reader) {
  const { id, source: shown } = state.description.value;
  theFault.value = null;
  theJob.value = { id: null, case: id, source: shown, state: "running", done: 0, total: 0, begun: performance.now() };
  try {
    const panel = isRepresentative ? { panel: "representative" } : {};
    const asked = { count, source: shown, reader, ...panel, ...(region ? { region } : {}) };
    const { id: number, source } = await json(`${place(id)}/jobs`, { method: "POST", json: asked });
    follow({ id: number, case: id, source, isElsewhere: source !== shown });
    state.said.value = `Drawing ${count} samples`;
  } catch (error) {
    theJob.value = null;
    theFault.value = { case: id, status: error.status, reason: error.message };
  }
}

/** Cancel the job that runs; whether the server was told. */
async function cancel() {
  const { id } = theJob.value;
  try {
    await request(`jobs/${id}`, { method: "DELETE" });
    return true;
  } catch (error) {
    theFault.value = { case: theJob.value?.case, status: error.status, reason: error.message };
    return false;
  }
}

function follow(running) {
  const begun = performance.now();
  const events = new EventSource(`api/v1/jobs/${running.id}/events`);
  events.addEventListener("message", ({ data }) => {
    const told = JSON.parse(data);
    theJob.value = told.state === "running" ? { ...running, ...told, begun } : null;
    if (told.state === "running") return;
    events.close();
    settle(running, told);
  });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) {
      theJob.value = { ...theJob.value, isLost: true }; // the browser asks again by itself
      return;
    }
    theJob.value = null;
    theFault.value = { case: running.case, status: 0, reason: "the server knows no more of what was being drawn" };
  });
}

function settle(running, told) {
  if (told.state === "failed") theFault.value = { case: running.case, status: 0, reason: told.reason };
  if (told.state === "finished") refresh();
  if (told.state === "finished" && running.isElsewhere && running.case === state.caseId.value) {
    location.hash = caseAddress(running.case, HERE, state.other.value);
  }
  const said = { finished: "The samples have been drawn", cancelled: "Cancelled: nothing was added", failed: told.reason };
  state.said.value = said[told.state];
}

/** What a case needs is known when the model is there. */
async function waitForModel() {
  while (state.info.value.model.loading) {
    await new Promise((done) => setTimeout(done, POLL));
    const now = await info().catch(() => null);
    if (now && !now.model.loading) {
      state.info.value = now;
      refresh();
    }
  }
}
