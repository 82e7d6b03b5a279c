// How large what at least k of N samples hold is: a slider over the curve of sizes.
import { ticks } from "./chart.js";
import { make } from "./dom.js";
import { bind } from "./keys.js";
import { state, watch } from "./state.js";
import { svg } from "./svg.js";
import { sizeWords } from "./words.js";

export function mount(element) {
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
    draw(plot, description.value, otherDescription.value);
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
  const label = state.info.value.sources.find((one) => one.id === other.source).label;
  if (level > other.samples) return `${label}: has only ${other.samples} samples`;
  return `${label}: ${sizeWords(other.agreement[level - 1].size, other.unit)} in at least ${level} of ${other.samples}`;
}

function draw(plot, description, other) {
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
