// Starts the page: which case is shown follows the address, each part builds itself in its place, and the first line says
// what is served.
import * as api from "./api.js";
import { step, mount as cases } from "./cases.js";
import { mountAgreement, mountScores, mountSizes } from "./charts.js";
import { button, count, make } from "./dom.js";
import { mount as draw } from "./draw.js";
import { mount as edit } from "./edit.js";
import { mount as film } from "./film.js";
import { bind, mount as listenToKeys, openHelp } from "./input.js";
import { mount as layers } from "./layers.js";
import { representative } from "./masks.js";
import { mount as saving } from "./saving.js";
import { mount as stages } from "./stages.js";
import { caseAddress, listAddress, recall, remember, state, watch } from "./state.js";

// Each part builds itself in the element of its id.
const PARTS = { header, stages, layers, cases, film, agreement: mountAgreement, sizes: mountSizes, scores: mountScores, draw, edit, saving };
const THEMES = { system: "as the system", light: "light", dark: "dark" };
let begun = null; // the case that slice, window and view are of

const served = api.info(); // asked for at once, while the parts are being built
listenToKeys();
bind("Page", [
  { keys: ["n"], does: "next case", run: () => step(1) },
  { keys: ["p"], does: "previous case", run: () => step(-1) },
]);
for (const [id, mount] of Object.entries(PARTS)) mount(document.getElementById(id));
showLine("error", state.error);
showLine("said", state.said);
watch([state.page], () => {
  document.body.dataset.page = state.page.value;
});
watch([state.caseId, state.source, state.revision], () => read(state.description, state.source));
watch([state.caseId, state.other, state.revision], () => read(state.otherDescription, state.other));
watch([state.info, state.description, state.page], () => {
  const name = state.page.value === "case" ? state.description.value?.name : null;
  document.title = [name, state.info.value?.title, "plurimask"].filter(Boolean).join(" · ");
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which case is shown
  document.getElementById("main").focus();
});
await start();

async function start() {
  try {
    state.info.value = await served;
    addEventListener("hashchange", follow);
    follow();
  } catch (error) {
    state.error.value = error.message;
  }
}

/** Show what the address says: #/ or #/case/ID?source=S&with=S2. */
function follow() {
  const [path, query] = location.hash.slice(1).split("?");
  const asked = new URLSearchParams(query);
  const sources = state.info.value.sources.map((one) => one.id);
  const id = /^\/case\/([\w-]+)$/.exec(path)?.[1] ?? null;
  if (!id && path !== "/" && path !== "") return location.replace(listAddress(sources[0]));
  state.error.value = null;
  state.source.value = sources.includes(asked.get("source")) ? asked.get("source") : sources[0];
  state.other.value = id && sources.includes(asked.get("with")) ? asked.get("with") : null;
  state.caseId.value = id;
  state.page.value = id ? "case" : "list";
}

/** Put the description of the shown case into a signal. What is on screen stays where the case is the same. */
async function read(target, wanted) {
  const [id, source] = [state.caseId.value, wanted.value];
  if (target.value?.id !== id || !source) target.value = null;
  if (!id || !source) return;
  const asked = () => [state.caseId.value, wanted.value, state.revision.value].join(" ");
  const mine = asked();
  try {
    const description = { ...(await api.theCase(id, source)), id, source };
    if (mine !== asked()) return;
    if (target === state.description) begin(description);
    target.value = description;
  } catch (error) {
    if (mine !== asked()) return;
    if (target.value?.source !== source) target.value = null;
    state.error.value = error.message;
  }
}

/** A case begins anew; another source of it, or more samples, leave what can be left as it is. */
function begin(description) {
  const isNew = begun !== description.id;
  begun = description.id;
  if (isNew) {
    const flat = description.shape[2] === 1;
    state.axis.value = flat ? 2 : state.axis.value;
    state.slice.value = description.start_slice[state.axis.value];
    state.channel.value = 0;
    state.window.value = description.windows[0];
    state.view.value = null;
    state.pointer.value = null;
    state.tool.value = null;
  }
  if (isNew || state.description.value?.source !== description.source) {
    state.sample.value = state.mode.value === "sample" ? representative(description) : null;
  }
  if (isNew || state.level.value > description.samples) {
    state.level.value = Math.max(1, Math.ceil(description.samples / 2));
  }
}

function showLine(id, line) {
  const element = document.getElementById(id);
  watch([line], () => {
    element.textContent = line.value ?? "";
    if (id === "error") element.hidden = !line.value;
  });
}

// The first line: what is served, the case, its source, what lies beside it, theme and help.

function header(element) {
  const title = make("a", { className: "title" });
  const name = make("h1");
  const case_ = make("p", { className: "facts quiet" });
  element.append(listToggle(), title, name, case_, make("div", { className: "tools" }, ...sources(), theme(), button("?", "Keys and help", openHelp)));
  watch([state.info, state.source, state.description, state.page, state.error], () => {
    const [info, description] = [state.info.value, state.description.value];
    const isCase = state.page.value === "case";
    title.textContent = info?.title ?? "plurimask";
    title.href = listAddress(state.source.value);
    name.textContent = isCase ? (description?.name ?? (state.error.value ? "Cannot be shown" : "…")) : "Cases";
    case_.textContent = isCase && description ? facts(description) : "";
  });
}

/** What is known of a case, in one line; the patient where the server was told to say it. */
function facts({ shape, spacing_mm: spacing, samples, readers, method, settings, patient }) {
  const size = shape[2] > 1 ? shape : shape.slice(0, 2);
  const step = spacing?.slice(0, size.length).map((one) => Number(one.toPrecision(3)));
  return [
    typeof patient === "object" && patient ? Object.values(patient).filter(Boolean).join(", ") : patient,
    size.join(" × ") + (step ? ` of ${step.join(" × ")} mm` : ""),
    `${count(samples, "sample")}${method ? ` by ${method}` : ""}${settings.reader ? ` as ${settings.reader}` : ""}`,
    count(readers, "reader"),
  ]
    .filter(Boolean)
    .join(" · ");
}

function sources() {
  const [source, other] = [make("select"), make("select")];
  const both = [
    make("label", { className: "choice" }, make("span", {}, "source"), source),
    make("label", { className: "choice beside" }, make("span", {}, "beside"), other),
  ];
  source.addEventListener("change", () => go(source.value, state.other.value));
  other.addEventListener("change", () => go(state.source.value, other.value || null));
  watch([state.info, state.source, state.other, state.page], () => {
    const all = state.info.value?.sources ?? [];
    fill(source, all, state.source.value);
    fill(other, [{ id: "", label: "nothing" }, ...all.filter((one) => one.id !== state.source.value)], state.other.value ?? "");
    both[0].hidden = all.length < 2;
    both[1].hidden = all.length < 2 || state.page.value !== "case";
  });
  return both;
}

function go(source, other) {
  const id = state.caseId.value;
  location.hash = id ? caseAddress(id, source, other === source ? null : other) : listAddress(source);
}

function fill(select, choices, value) {
  select.replaceChildren(...choices.map((one) => make("option", { value: one.id }, one.label)));
  select.value = value;
}

function theme() {
  const element = button("", "", next);
  element.className = "theme";
  state.theme.value = recall("theme") in THEMES ? recall("theme") : "system";
  watch([state.theme], () => {
    const now = state.theme.value;
    if (now === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = now;
    element.textContent = { system: "◐", light: "☀", dark: "☾" }[now];
    element.title = `Theme: ${THEMES[now]}`;
    element.setAttribute("aria-label", element.title);
  });
  bind("Page", [{ keys: ["t"], does: "theme: as the system, light, dark", run: next }]);
  return element;

  function next() {
    const names = Object.keys(THEMES);
    state.theme.value = names[(names.indexOf(state.theme.value) + 1) % names.length];
    remember("theme", state.theme.value);
  }
}

/** Shows or hides the list beside a case. */
function listToggle() {
  const element = button("☰", "List of cases", () => show(document.body.dataset.list === "off"));
  element.setAttribute("aria-controls", "cases");
  element.classList.add("list");
  show(recall("list") !== "off");
  return element;

  function show(on) {
    document.body.dataset.list = on ? "on" : "off";
    element.setAttribute("aria-expanded", on);
    remember("list", document.body.dataset.list);
  }
}
