// Above the image: the axis of a volume, the channel, the window, the zoom.
import { fit, isVolume, resetWindow, setAxis, setChannel, setWindow, zoomBy } from "./actions.js";
import { button, choice, make } from "./dom.js";
import { state, watch } from "./state.js";
import { planeOf } from "./view.js";

/** `lookCloser` zooms to what is marked. */
export function makeToolbar(lookCloser) {
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
