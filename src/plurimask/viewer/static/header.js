// The first line of the page: what is served, which source, beside which other, theme and help.
import { make } from "./dom.js";
import { caseAddress, listAddress, state, watch } from "./state.js";

export function mount(element) {
  const title = make("a", { className: "title", href: "#/" });
  const name = make("h1");
  const source = make("select");
  const other = make("select");
  element.append(
    title,
    name,
    make("label", { className: "choice" }, make("span", {}, "source"), source),
    make("label", { className: "choice beside" }, make("span", {}, "beside"), other),
  );
  source.addEventListener("change", () => go(source.value, state.other.value));
  other.addEventListener("change", () => go(state.source.value, other.value || null));
  watch([state.info, state.source, state.other, state.description, state.page], () => {
    const info = state.info.value;
    if (!info) return;
    title.textContent = info.title;
    title.href = listAddress(state.source.value);
    name.textContent = state.page.value === "case" ? (state.description.value?.name ?? "…") : "Cases";
    fill(source, info.sources, state.source.value);
    fill(other, [{ id: "", label: "nothing" }, ...info.sources], state.other.value ?? "");
  });
}

function go(source, other) {
  const id = state.caseId.value;
  location.hash = id ? caseAddress(id, source, other) : listAddress(source);
}

function fill(select, choices, value) {
  select.replaceChildren(...choices.map((one) => make("option", { value: one.id }, one.label)));
  select.value = value;
}
