// The brush as a circle about the pointer, as large as what it reaches.
import { shownPlane } from "./actions.js";
import { radiusOn, size } from "./brush.js";
import { make } from "./dom.js";
import { state, watch } from "./state.js";
import { matrixOf } from "./view.js";

/** Follow the pointer over the stages below an element. */
export function follow(element) {
  const ring = make("div", { className: "ring", hidden: true, ariaHidden: "true" });
  let stage = null;
  element.addEventListener("pointermove", (event) => {
    stage = event.target.closest(".stage");
    place();
    if (ring.hidden) return;
    const { left, top } = stage.getBoundingClientRect();
    ring.style.translate = `${event.clientX - left}px ${event.clientY - top}px`;
  });
  element.addEventListener("pointerleave", () => {
    stage = null;
    place();
  });
  watch([size, state.view, state.tool, state.axis], place);
  watch([state.tool], () => (element.dataset.tool = state.tool.value ?? ""));

  function place() {
    const plane = shownPlane();
    ring.hidden = !stage || !plane || !["brush", "eraser"].includes(state.tool.value);
    if (ring.hidden) return;
    if (ring.parentElement !== stage) stage.append(ring);
    const { zoom } = matrixOf(plane, state.view.value, stage.clientWidth, stage.clientHeight);
    ring.style.setProperty("--across", `${2 * radiusOn(plane) * zoom}px`);
  }
}
