// The middle of the page: the image, or two sources beside each other, with what moves them.
import { fit, isVolume, zoomBy, panBy, changeWindow, resetWindow, moveSlice, setAxis, setChannel, setSlice, setWindow } from "./actions.js";
import { button, choice, make } from "./dom.js";
import { bind } from "./input.js";
import { Stage } from "./stage.js";
import { sourceLabel, state, watch } from "./state.js";
import { closeUp, planeOf } from "./view.js";

const [ROOM, LEAST] = [2, 1 / 12]; // of a close-up: times what is marked, and of the plane

export function mount(element) {
  const stage = new Stage(state.description);
  const first = framed(stage, state.source, state.description);
  const second = framed(new Stage(state.otherDescription), state.other, state.otherDescription);
  const lookCloser = () => (state.view.value = stage.plane && closeUp(stage.plane, stage.marked, ROOM, LEAST));
  element.append(makeToolbar(lookCloser), make("div", { className: "field" }, first, second), makeSlider());
  watch([state.other], () => {
    second.hidden = state.other.value === null;
    element.classList.toggle("paired", !second.hidden);
  });
  bind("Image", [
    { keys: ["+", "="], does: "zoom in", run: () => zoomBy(1.25) },
    { keys: ["-"], does: "zoom out", run: () => zoomBy(0.8) },
    { keys: ["0"], does: "whole image", run: fit },
    { keys: ["z"], does: "close to what is marked", run: lookCloser },
    { keys: ["Shift+ArrowLeft"], does: "move left", run: () => panBy(0.1, 0) },
    { keys: ["Shift+ArrowRight"], does: "move right", run: () => panBy(-0.1, 0) },
    { keys: ["Shift+ArrowUp"], does: "move up", run: () => panBy(0, 0.1) },
    { keys: ["Shift+ArrowDown"], does: "move down", run: () => panBy(0, -0.1) },
    { keys: ["l"], does: "wider window: less contrast", run: () => changeWindow(1.1, 0) },
    { keys: ["j"], does: "narrower window: more contrast", run: () => changeWindow(1 / 1.1, 0) },
    { keys: ["i"], does: "window up: darker", run: () => changeWindow(1, 0.05) },
    { keys: ["k"], does: "window down: brighter", run: () => changeWindow(1, -0.05) },
    { keys: ["u"], does: "window as at first", run: resetWindow },
  ]);
  bind("Slices of a volume", [
    { keys: ["ArrowUp"], does: "previous slice", run: () => moveSlice(-1) },
    { keys: ["ArrowDown"], does: "next slice", run: () => moveSlice(1) },
    { keys: ["PageUp"], does: "10 slices back", run: () => moveSlice(-10) },
    { keys: ["PageDown"], does: "10 slices on", run: () => moveSlice(10) },
    { keys: ["Home"], does: "first slice", run: () => setSlice(0) },
    { keys: ["End"], does: "last slice", run: () => setSlice(Infinity) },
  ]);
  bind("Pointer", [
    { keys: ["drag"], does: "move the image" },
    { keys: ["right drag", "W+drag"], does: "window: across for width, up and down for centre" },
    { keys: ["wheel"], does: "slices of a volume; zoom of a plane" },
    { keys: ["Ctrl+wheel"], does: "zoom about the pointer" },
  ]);
}

/** A stage under the name of its source, where there are two. */
function framed(stage, source, description) {
  const name = make("figcaption");
  const none = make("p", { className: "none", hidden: true }, "No samples of this case here.");
  watch([state.info, source, description, state.other], () => {
    name.hidden = state.other.value === null;
    name.textContent = sourceLabel(source.value);
    none.hidden = description.value?.samples !== 0 || name.hidden;
  });
  return make("figure", {}, name, stage.element, none);
}

// Above the image: the axis of a volume, the channel, the window, the zoom.

/** `lookCloser` zooms to what is marked. */
function makeToolbar(lookCloser) {
  return make("div", { className: "toolbar" }, axes(), channel(), windowing(), zooming(lookCloser));
}

function axes() {
  const element = make("fieldset", { className: "segments" });
  watch([state.description, state.axis], () => {
    const description = state.description.value;
    element.hidden = !isVolume(description);
    if (element.hidden) return;
    const names = [2, 1, 0].map((axis) => ({ value: String(axis), label: planeOf(description, axis).name }));
    choice(element, "axis", "Cut", names, String(state.axis.value), (value) => setAxis(Number(value)));
  });
  return element;
}

function channel() {
  const select = make("select");
  const element = make("label", { className: "choice" }, make("span", {}, "channel"), select);
  select.addEventListener("change", () => setChannel(select.selectedIndex));
  watch([state.description, state.channel], () => {
    const count = state.description.value?.channels ?? 1;
    element.hidden = count < 2;
    select.replaceChildren(...Array.from({ length: count }, (_, index) => make("option", {}, String(index + 1))));
    select.selectedIndex = state.channel.value;
  });
  return element;
}

/** Width and centre as numbers, which change with the pointer and the other way round. */
function windowing() {
  const [width, centre] = [make("input", { type: "number", step: "any" }), make("input", { type: "number", step: "any" })];
  const element = make(
    "div",
    { className: "window", role: "group", ariaLabel: "Window" },
    make("label", { className: "choice" }, make("span", {}, "width"), width),
    make("label", { className: "choice" }, make("span", {}, "centre"), centre),
    button("Reset", "Window as at first", resetWindow),
  );
  for (const one of [width, centre]) {
    one.addEventListener("change", () => setWindow(centre.valueAsNumber, width.valueAsNumber));
  }
  watch([state.window, state.description], () => {
    const [shown, description] = [state.window.value, state.description.value];
    element.hidden = !shown || !description?.has_image;
    if (element.hidden) return;
    const digits = Math.max(0, 2 - Math.floor(Math.log10(shown.high - shown.low)));
    width.value = (shown.high - shown.low).toFixed(Math.min(digits, 12));
    centre.value = ((shown.high + shown.low) / 2).toFixed(Math.min(digits, 12));
  });
  return element;
}

function zooming(lookCloser) {
  const now = make("output", { className: "number", ariaLabel: "Zoom" });
  watch([state.view], () => (now.textContent = `${((state.view.value?.zoom ?? 1) * 100).toFixed(0)}%`));
  return make(
    "div",
    { className: "zoom", role: "group", ariaLabel: "Zoom" },
    button("\u2212", "Zoom out", () => zoomBy(0.8)),
    now,
    button("+", "Zoom in", () => zoomBy(1.25)),
    button("Whole", "Whole image (0)", fit),
    button("Close-up", "Close to what is marked (Z)", lookCloser),
  );
}

// Below it: the slice of a volume as a slider, with marks where anything is drawn.

function makeSlider() {
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
