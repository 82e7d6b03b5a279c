// How large the samples are and how large the readers' masks: dots above a line, triangles below it.
import { ticks } from "./chart.js";
import { readerColour } from "./colours.js";
import { make } from "./dom.js";
import { state, watch } from "./state.js";
import { svg } from "./svg.js";
import { size, sizeWords } from "./words.js";

const PLACES = 44; // along the axis; what falls on one place is piled up
const [LEFT, WIDTH] = [3, 94]; // percent
const [STEP, HIGHEST, GAP] = [7, 70, 16]; // px: from dot to dot, of a pile at most, above a pile

export function mount(element) {
  const plot = svg("svg", { class: "sizes-plot", role: "img" });
  const words = make("div", { className: "small" });
  element.append(plot, words);
  const { description, otherDescription, sample } = state;
  watch([description, otherDescription], () => {
    const all = [description.value, otherDescription.value].filter((one) => one?.samples);
    const { reader_sizes: readers = [], unit = "" } = description.value ?? {};
    plot.toggleAttribute("hidden", !all.length && !readers.length);
    const lines = [...all.map((one) => said(labelOf(one, all), one.sizes, unit)), said("Readers", readers, unit)];
    words.replaceChildren(...lines.filter(Boolean).map((one) => make("p", {}, one)));
    if (!plot.hasAttribute("hidden")) draw(plot, all, readers, unit);
    mark();
  });
  watch([sample], mark);
  plot.addEventListener("click", ({ target }) => {
    if (target.dataset.sample) sample.value = Number(target.dataset.sample);
  });

  function mark() {
    for (const dot of plot.querySelectorAll("[data-sample]")) {
      dot.classList.toggle("chosen", Number(dot.dataset.sample) === sample.value);
    }
    plot.querySelector(".chosen")?.parentNode.append(plot.querySelector(".chosen"));
  }
}

function labelOf({ source }, all) {
  return all.length > 1 ? state.info.value.sources.find((one) => one.id === source).label : "Samples";
}

/** Median and range of those that drew. */
function said(label, values, unit) {
  const drawn = values.filter((one) => one > 0).toSorted((a, b) => a - b);
  const empty = values.length - drawn.length;
  const nothing = empty ? `; ${empty} of ${values.length} drew nothing` : "";
  if (!values.length) return "";
  if (!drawn.length) return `${label}: all ${values.length} drew nothing`;
  const half = (drawn.length - 1) / 2;
  const median = (drawn[Math.floor(half)] + drawn[Math.ceil(half)]) / 2;
  return `${label}: median ${size(median)} ${unit} (${size(drawn[0])} to ${size(drawn.at(-1))})${nothing}`;
}

function draw(plot, all, readers, unit) {
  const steps = ticks(Math.max(...readers, ...all.flatMap((one) => one.sizes)), 4);
  const top = steps.at(-1);
  const rows = [];
  let base = 0;
  for (const one of all) {
    const dots = piled(one.sizes, top);
    const step = Math.min(STEP, HIGHEST / (1 + Math.max(...dots.map((dot) => dot.level))));
    base += GAP + step * Math.max(...dots.map((dot) => dot.level)) + 4;
    rows.push(row(one, dots, base, step, all));
  }
  const foot = base + 18 + 5 * Math.max(0, ...piled(readers, top).map((dot) => dot.level));
  plot.style.height = `${foot + 18}px`;
  plot.setAttribute("aria-label", `Sizes of samples and readers in ${unit}; medians and ranges stand below`);
  plot.replaceChildren(
    ...steps.flatMap((step) => [
      svg("line", { x1: x(step / top), x2: x(step / top), y1: 0, y2: foot }),
      svg("text", { x: x(step / top), y: foot + 13 }, String(step)),
    ]),
    ...rows,
    ...piled(readers, top).map((dot) => triangle(dot, base, unit)),
  );
}

function row(one, dots, base, step, all) {
  const circles = dots.map(({ index, place, level, value }) => {
    const own = one.source === state.source.value ? { "data-sample": index } : {};
    const title = svg("title", {}, `sample ${index + 1}: ${sizeWords(value, one.unit)}`);
    return svg("circle", { cx: x(place / PLACES), cy: base - 5 - step * level, r: 3.2, ...own }, title);
  });
  const name = all.length > 1 ? [svg("text", { class: "name", x: "100%", y: base - 5 }, labelOf(one, all))] : [];
  return svg("g", {}, svg("line", { class: "base", x1: 0, x2: "100%", y1: base, y2: base }), ...name, svg("g", {}, ...circles));
}

function triangle({ index, place, level, value }, base, unit) {
  const title = svg("title", {}, `reader ${index + 1}: ${sizeWords(value, unit)}`);
  const path = svg("path", { d: "M0 0l5 9h-10z", fill: readerColour(index) }, title);
  return svg("svg", { x: x(place / PLACES), y: base + 3 + 5 * level, overflow: "visible" }, path);
}

/** Where each value stands: {index, value, place, level}. Nothing but empty masks stands at 0. */
function piled(values, top) {
  const heights = new Map();
  const sorted = values.map((value, index) => ({ value, index })).toSorted((a, b) => a.value - b.value);
  return sorted.map((one) => {
    const place = Math.ceil((PLACES * one.value) / top);
    const level = heights.get(place) ?? 0;
    heights.set(place, level + 1);
    return { ...one, place, level };
  });
}

const x = (share) => `${(LEFT + WIDTH * share).toFixed(2)}%`;
