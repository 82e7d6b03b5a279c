// The panel of what lies over the image.
import { setMode, showSample, moveSample, setAxis, isVolume } from "./actions.js";
import { choice, make } from "./dom.js";
import { bind } from "./input.js";
import { frequencyColour, readerColour } from "./paint.js";
import { MODES, state, watch } from "./state.js";

const LABELS = { outlines: "Outlines", frequency: "Frequency", sample: "Sample", consensus: "Consensus", image: "Image" };
const MEANINGS = {
  outlines: "the outlines of all samples",
  frequency: "how many of the samples mark each voxel",
  sample: "one sample alone",
  consensus: "what at least k samples mark",
  image: "the image alone",
};

export function mount(element) {
  element.append(modes(), readers(), opacity(), about());
  bind("Layers", [
    ...MODES.map((mode, place) => ({ keys: [String(place + 1)], does: MEANINGS[mode], run: () => setMode(mode) })),
    { keys: ["r"], does: "readers on or off", run: () => (state.showReaders.value = !state.showReaders.value) },
    { keys: ["ArrowRight"], does: "next sample", run: () => moveSample(1) },
    { keys: ["ArrowLeft"], does: "previous sample", run: () => moveSample(-1) },
    { keys: ["Enter"], does: "the selected sample alone", run: () => showSample() },
    { keys: ["x"], does: "cut across the next axis", run: nextAxis },
  ]);
}

function modes() {
  const fieldset = make("fieldset", { className: "segments" });
  const options = MODES.map((mode, place) => ({ value: mode, label: LABELS[mode], title: `${MEANINGS[mode]} (${place + 1})` }));
  choice(fieldset, "mode", "Show", options, state.mode.value, setMode);
  watch([state.mode], () => {
    for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === state.mode.value;
  });
  return fieldset;
}

/** One line about what is shown, with the legend of the frequency map. */
function about() {
  const line = make("p", { className: "small quiet" });
  const scale = make("canvas", { className: "scale", height: 1, ariaHidden: "true" });
  const ends = make("p", { className: "ends small quiet", ariaHidden: "true" }, make("span", {}, "1"), make("span"));
  const { mode, description, sample, level } = state;
  watch([mode, description, sample, level], () => {
    const shown = description.value;
    scale.hidden = ends.hidden = mode.value !== "frequency" || !shown?.samples;
    line.textContent = shown ? said(shown) : "";
    if (scale.hidden) return;
    ends.lastChild.textContent = `${shown.samples} samples`;
    scale.width = shown.samples;
    const context = scale.getContext("2d");
    for (let k = 1; k <= shown.samples; k += 1) {
      context.fillStyle = `rgb(${frequencyColour(k, shown.samples).join(" ")})`;
      context.fillRect(k - 1, 0, 1, 1);
    }
  });
  return make("div", { className: "about" }, line, scale, ends);
}

function said({ samples }) {
  const index = state.sample.value;
  if (!samples) return "No samples have been drawn for this case.";
  if (state.mode.value === "sample") return index === null ? "No sample is selected." : `Sample ${index + 1} of ${samples}.`;
  if (state.mode.value === "consensus") return `What at least ${state.level.value} of ${samples} samples mark.`;
  if (state.mode.value === "frequency") return `How many of ${samples} samples mark each voxel:`;
  if (state.mode.value === "image") return "No samples are shown.";
  return `All ${samples} samples, brighter where more of them run${index === null ? "" : `; sample ${index + 1} is strong`}.`;
}

function readers() {
  const box = make("input", { type: "checkbox" });
  const names = make("span", { className: "keys" });
  const element = make("label", { className: "check" }, box, make("span", {}, "Readers"), names);
  box.addEventListener("change", () => (state.showReaders.value = box.checked));
  watch([state.showReaders], () => (box.checked = state.showReaders.value));
  watch([state.description], () => {
    const description = state.description.value;
    const none = make("span", { className: "quiet" }, description ? "nobody read this case" : "");
    box.disabled = !description?.readers;
    names.replaceChildren(...(box.disabled ? [none] : description.reader_sizes.map(reader)));
  });
  return element;
}

function reader(size, index) {
  const swatch = make("span", { className: "swatch" });
  swatch.style.background = readerColour(index);
  return make("span", {}, swatch, size ? String(index + 1) : `${index + 1}: nothing`);
}

function opacity() {
  const slider = make("input", { type: "range", min: 0.1, max: 1, step: 0.05 });
  slider.addEventListener("input", () => (state.opacity.value = slider.valueAsNumber));
  watch([state.opacity], () => (slider.value = state.opacity.value));
  return make("label", { className: "check" }, make("span", {}, "Strength"), slider);
}

function nextAxis() {
  if (isVolume(state.description.value)) setAxis((state.axis.value + 2) % 3);
}
