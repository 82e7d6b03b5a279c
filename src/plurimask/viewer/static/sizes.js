// How large the samples are and how large the readers' masks: dots above a line, triangles below it.
import { ticks } from "./chart.js";
import { readerColour } from "./colours.js";
import { make } from "./dom.js";
import { state, watch } from "./state.js";
import { svg } from "./svg.js";
import { size, sizeWords } from "./words.js";

const PLACES = 44; // along the axis; what falls on one place is piled up
const [LEFT, WIDTH] = [3, 94]; // percent
const [STEP, HIGHEST, NAME] = [0.45, 4.5, 1]; // rem: from dot to dot, of a pile at most, of a source's name

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
  const [low, high] = [size(drawn[0]), size(drawn.at(-1))];
  return `${label}: ${low === high ? low : `median ${size(median)}`} ${unit}${low === high ? "" : ` (${low} to ${high})`}${nothing}`;
}

function draw(plot, all, readers, unit) {
  const steps = ticks(Math.max(...readers, ...all.flatMap((one) => one.sizes)), 4);
  const top = steps.at(-1);
  const rows = [];
  let base = 0;
  for (const one of all) {
    const dots = piled(one.sizes, top);
    const most = Math.max(...dots.map((dot) => dot.level));
    const step = Math.min(STEP, HIGHEST / (most + 1));
    const name = all.length > 1 ? [svg("text", { class: "name", y: rem(base + NAME) }, labelOf(one, all))] : [];
    base += 0.75 + step * most + (name.length && NAME);
    rows.push(...name, row(one, dots, base, step));
  }
  const foot = base + 1.1 + 0.3 * Math.max(0, ...piled(readers, top).map((dot) => dot.level));
  plot.style.height = rem(foot + 1.1);
  plot.setAttribute("aria-label", `Sizes of samples and readers in ${unit}; medians and ranges stand below`);
  plot.replaceChildren(
    ...steps.flatMap((step) => [
      svg("line", { x1: x(step / top), x2: x(step / top), y1: 0, y2: rem(foot) }),
      svg("text", { x: x(step / top), y: rem(foot + 0.85) }, String(step)),
    ]),
    ...rows,
    ...piled(readers, top).map((dot) => triangle(dot, base, unit)),
  );
}

function row(one, dots, base, step) {
  const circles = dots.map(({ index, place, level, value }) => {
    const own = one.source === state.source.value ? { "data-sample": index } : {};
    const title = svg("title", {}, `sample ${index + 1}: ${sizeWords(value, one.unit)}`);
    return svg("circle", { cx: x(place / PLACES), cy: rem(base - 0.3 - step * level), ...own }, title);
  });
  return svg("g", {}, svg("line", { class: "base", x1: 0, x2: "100%", y1: rem(base), y2: rem(base) }), ...circles);
}

function triangle({ index, place, level, value }, base, unit) {
  const title = svg("title", {}, `reader ${index + 1}: ${sizeWords(value, unit)}`);
  const path = svg("path", { d: "M0 0l5 9h-10z", fill: readerColour(index) }, title);
  const box = { viewBox: "0 0 10 10", width: rem(0.65), height: rem(0.65), overflow: "visible" };
  return svg("svg", { x: x(place / PLACES), y: rem(base + 0.15 + 0.3 * level), ...box }, path);
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
const rem = (value) => `${value.toFixed(3)}rem`;
