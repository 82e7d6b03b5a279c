// The slice of a volume as a slider, with marks where anything is drawn.
import { isVolume, setSlice } from "./actions.js";
import { make } from "./dom.js";
import { state, watch } from "./state.js";
import { planeOf } from "./view.js";

export function makeSlider() {
  const slider = make("input", { type: "range", min: 0, step: 1, id: "slice" });
  const marks = make("canvas", { height: 1, ariaHidden: "true" });
  const place = make("output", { htmlFor: "slice" });
  const element = make("div", { className: "slider" }, make("label", { htmlFor: "slice" }, "Slice"), make("div", {}, marks, slider), place);
  slider.addEventListener("input", () => setSlice(slider.valueAsNumber));
  watch([state.description, state.axis], () => {
    const description = state.description.value;
    element.hidden = !isVolume(description);
    if (element.hidden) return;
    const count = description.shape[state.axis.value];
    slider.max = count - 1;
    mark(marks, count, description.slices_marked[state.axis.value]);
    show();
  });
  watch([state.slice], show);
  return element;

  function show() {
    const description = state.description.value;
    if (!isVolume(description)) return;
    const count = description.shape[state.axis.value];
    slider.value = state.slice.value;
    place.textContent = `${state.slice.value + 1} of ${count}`;
    slider.setAttribute("aria-valuetext", `${planeOf(description, state.axis.value).name} slice ${place.textContent}`);
  }
}

function mark(canvas, count, slices) {
  canvas.width = count;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  for (const k of slices) context.fillRect(k, 0, 1, 1);
}
