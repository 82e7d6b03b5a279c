// A case in numbers: sizes as dots and triangles along a line, a slider over the curve of agreement, a table of scores.
import * as api from "./api.js";
import { make, score, size, sizeWords, svg } from "./dom.js";
import { bind } from "./input.js";
import { readerColour } from "./paint.js";
import { sourceLabel, state, watch } from "./state.js";

// Sizes: dots above a line, triangles below it.

const PLACES = 44; // along the axis; what falls on one place is piled up
const [LEFT, WIDTH] = [3, 94]; // percent
const [STEP, HIGHEST, NAME] = [0.45, 4.5, 1]; // rem: from dot to dot, of a pile at most, of a source's name

export function mountSizes(element) {
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
    if (!plot.hasAttribute("hidden")) drawSizes(plot, all, readers, unit);
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

const labelOf = ({ source }, all) => (all.length > 1 ? sourceLabel(source) : "Samples");

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

function drawSizes(plot, all, readers, unit) {
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

// Agreement: how large what at least k of N samples mark is.

export function mountAgreement(element) {
  const size = make("b");
  const meaning = make("span", { className: "quiet" });
  const beside = make("p", { className: "small quiet" });
  const plot = svg("svg", { class: "agreement-plot", role: "img" });
  const slider = make("input", { type: "range", min: 1, step: 1, ariaLabel: "Least number of samples" });
  const ends = make("p", { className: "agreement-ends small quiet", ariaHidden: "true" }, make("span", {}, "1"), make("span"));
  const none = make("p", { className: "quiet small" }, "No samples have been drawn for this case.");
  const whole = make("div", {}, make("p", { className: "agreement-size" }, size, " ", meaning), plot, slider, ends, beside);
  element.append(none, whole);

  slider.addEventListener("input", () => setLevel(slider.valueAsNumber));
  bind("Layers", [
    { keys: [","], does: "at least one sample less", run: () => setLevel(state.level.value - 1) },
    { keys: ["."], does: "at least one sample more", run: () => setLevel(state.level.value + 1) },
  ]);
  const { description, otherDescription, level } = state;
  watch([description, otherDescription, level], () => {
    const { samples = 0, agreement, unit } = description.value ?? {};
    whole.hidden = !samples;
    none.hidden = !description.value || samples > 0;
    if (!samples) return;
    const words = sizeWords(agreement[level.value - 1].size, unit);
    slider.max = samples;
    slider.value = level.value;
    slider.setAttribute("aria-valuetext", `at least ${level.value} of ${samples}: ${words}`);
    size.textContent = words;
    meaning.textContent = `in at least ${level.value} of ${samples}`;
    beside.textContent = besideWords();
    ends.lastChild.textContent = `${samples} samples`;
    drawAgreement(plot, description.value, otherDescription.value);
  });
}

function setLevel(level) {
  const { samples = 0 } = state.description.value ?? {};
  if (!samples) return;
  state.level.value = Math.min(samples, Math.max(1, level));
  state.mode.value = "consensus";
}

/** The same of the source beside it, if any. */
function besideWords() {
  const [other, level] = [state.otherDescription.value, state.level.value];
  if (!other?.samples) return "";
  const label = sourceLabel(other.source);
  if (level > other.samples) return `${label}: has only ${other.samples} samples`;
  return `${label}: ${sizeWords(other.agreement[level - 1].size, other.unit)} in at least ${level} of ${other.samples}`;
}

function drawAgreement(plot, description, other) {
  const { agreement, samples, unit } = description;
  const curves = [description, other].filter((one) => one?.samples);
  const steps = ticks(Math.max(...curves.map((one) => one.agreement[0].size)), 3);
  const top = steps.at(-1);
  const [first, last] = [agreement[0], agreement.at(-1)].map(({ size }) => sizeWords(size, unit));
  const [x, y] = [share(state.level.value - 1, samples - 1), share(top - agreement[state.level.value - 1].size, top)];
  plot.setAttribute("aria-label", `Size by agreement: ${first} in at least 1 of ${samples}, ${last} in all of them`);
  plot.replaceChildren(
    ...steps.flatMap((step) => [
      svg("line", { x1: 0, x2: "100%", y1: share(top - step, top), y2: share(top - step, top) }),
      svg("text", { x: "-.9rem", y: share(top - step, top), dy: ".32em" }, String(step)),
    ]),
    ...curves.map((one) => curve(one, samples, top)).reverse(),
    svg("line", { class: "level", x1: x, x2: x, y1: 0, y2: "100%" }),
    svg("circle", { cx: x, cy: y }),
  );
}

/** A line through the sizes: level 1 at the left, `count` at the right. */
function curve({ agreement, source }, count, top) {
  const points = agreement.slice(0, count).map(({ size }, place) => `${place} ${top - size}`);
  const isBeside = source !== state.source.value;
  const area = `M0 ${top}L${points.join("L")}L${points.length - 1} ${top}Z`;
  return svg(
    "svg",
    { viewBox: `0 0 ${Math.max(1, count - 1)} ${top}`, preserveAspectRatio: "none", width: "100%", height: "100%", overflow: "visible" },
    ...(isBeside ? [] : [svg("path", { class: "area", d: area })]),
    svg("path", { class: isBeside ? "curve beside" : "curve", d: `M${points.join("L")}` }),
  );
}

const share = (part, whole) => `${(whole ? (100 * part) / whole : 0).toFixed(2)}%`;

/** Round values from 0 on to `top` or just above it: at most `most` steps. */
function ticks(top, most) {
  if (!(top > 0)) return [0, 1];
  const least = top / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= least);
  const count = Math.ceil(top / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, k) => Number((k * step).toPrecision(12)));
}

// Scores: their values, and what each of them means.

const PAUSE = 400; // ms that a case is looked at before its scores are worked out, so that the image comes first
const ARROWS = { lower: "↓", higher: "↑" };
let asked = 0;
let timer = 0;
let isWhole = false;

export function mountScores(element) {
  const { description, otherDescription, other } = state;
  watch([description, otherDescription, other], () => {
    clearTimeout(timer);
    asked += 1;
    const shown = [description.value, other.value && otherDescription.value].filter(Boolean);
    if (description.value) timer = setTimeout(() => fill(element, shown, asked), PAUSE);
    else element.replaceChildren();
  });
}

/** The table as it was stays until the next one is there. */
async function fill(element, shown, mine) {
  const put = (...parts) => mine === asked && element.replaceChildren(...parts);
  if (!element.firstChild) put(line("Working out …"));
  try {
    const answers = await Promise.all(shown.map(({ id, source }) => api.scores(id, source)));
    put(...answers.flatMap(({ reason }, place) => (reason ? [line(`No scores${of(shown, place)}: ${reason}.`)] : [])));
    if (mine === asked && answers.some(({ values }) => values.length)) element.append(...table(shown, answers));
  } catch (error) {
    put(line(error.message));
  }
}

const line = (words) => make("p", { className: "quiet small" }, words);
const of = (shown, place) => (shown.length > 1 ? ` of ${sourceLabel(shown[place].source)}` : "");

function table(shown, answers) {
  const columns = answers.map(({ values }) => new Map(values.map((one) => [one.key, one])));
  const kinds = answers.find(({ values }) => values.length).values;
  const heads = shown.map((one) => make("th", { scope: "col", className: "number" }, shown.length > 1 ? sourceLabel(one.source) : "value"));
  const head = make("thead", { className: shown.length > 1 ? "" : "unseen" }, make("tr", {}, make("th", { scope: "col" }, "score"), ...heads));
  const valuesOf = ({ key }) => columns.map((column) => column.get(key)?.value ?? null);
  const isFair = new Set(shown.map(({ samples }) => samples)).size === 1;
  const bodies = kinds.map((kind) => rows(kind, valuesOf(kind), isFair));
  const whole = make("table", { className: "scores" }, head, ...bodies);
  const more = make("button", { type: "button", className: "scores-more" });
  const show = () => {
    more.textContent = isWhole ? "Fewer scores" : `All ${kinds.length} scores`;
    more.ariaExpanded = String(isWhole);
    bodies.forEach((body, place) => (body.hidden = !isWhole && !kinds[place].headline));
  };
  more.addEventListener("click", () => {
    isWhole = !isWhole;
    show();
  });
  show();
  return [whole, more];
}

/** A score and, when its name is pressed, how it is counted. The better value is marked where the comparison is fair. */
function rows({ key, label, convention, better, unit }, values, isFair) {
  const note = make("tr", { id: `score-${key}`, className: "scores-note", hidden: true });
  note.append(make("td", { colSpan: values.length + 1 }, better ? `${convention}; ${better} is better` : convention));
  const name = make("button", { type: "button", title: convention, ariaExpanded: "false", aria: { controls: note.id } });
  name.append(symbol(label), ...(unit ? [make("span", { className: "quiet" }, ` ${unit}`)] : []));
  if (better) name.append(" ", make("span", { className: "better", role: "img", ariaLabel: `${better} is better` }, ARROWS[better]));
  name.addEventListener("click", () => {
    note.hidden = !note.hidden;
    name.ariaExpanded = String(!note.hidden);
  });
  const best = isFair ? bestOf(values, better) : undefined;
  const cells = values.map((value) => make("td", { className: value === best ? "number best" : "number" }, score(value)));
  return make("tbody", {}, make("tr", {}, make("th", { scope: "row" }, name), ...cells), note);
}

/** The better one of several values that differ in what is written. */
function bestOf(values, better) {
  const known = values.filter((value) => value !== null);
  if (!better || new Set(known.map(score)).size < 2) return undefined;
  return better === "lower" ? Math.min(...known) : Math.max(...known);
}

/** D_max with its index set below the line. */
function symbol(label) {
  const [stem, index] = label.split("_");
  return make("span", {}, stem, ...(index ? [make("sub", {}, index)] : []));
}
