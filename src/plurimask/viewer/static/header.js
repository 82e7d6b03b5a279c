// The first line of the page: what is served, the case, its source, what lies beside it, theme and help.
import { button, count, make } from "./dom.js";
import { bind, openHelp } from "./input.js";
import { caseAddress, listAddress, recall, remember, state, watch } from "./state.js";

const THEMES = { system: "as the system", light: "light", dark: "dark" };

export function mount(element) {
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
function facts({ shape, spacing_mm: spacing, samples, readers, method, patient }) {
  const size = shape[2] > 1 ? shape : shape.slice(0, 2);
  const step = spacing?.slice(0, size.length).map((one) => Number(one.toPrecision(3)));
  return [
    typeof patient === "object" && patient ? Object.values(patient).filter(Boolean).join(", ") : patient,
    size.join(" × ") + (step ? ` of ${step.join(" × ")} mm` : ""),
    `${count(samples, "sample")}${method ? ` by ${method}` : ""}`,
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
