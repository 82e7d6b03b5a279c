// The middle of the page: the image, or two sources beside each other, with what moves them.
import { fit, zoomBy, panBy, changeWindow, resetWindow, moveSlice, setSlice } from "./actions.js";
import { make } from "./dom.js";
import { bind } from "./keys.js";
import { Stage } from "./stage.js";
import { makeSlider } from "./slider.js";
import { makeToolbar } from "./toolbar.js";
import { state, watch } from "./state.js";
import { closeUp } from "./view.js";

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
    name.textContent = state.info.value?.sources.find((one) => one.id === source.value)?.label ?? "";
    none.hidden = description.value?.samples !== 0 || name.hidden;
  });
  return make("figure", {}, name, stage.element, none);
}
