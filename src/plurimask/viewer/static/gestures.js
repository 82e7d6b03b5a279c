// Pointer and wheel on a stage: move, zoom, window, slices, strokes of a tool.
import { changeWindow, isVolume, moveSlice, zoomBy } from "./actions.js";
import { isHeld } from "./keys.js";
import { state } from "./state.js";
import { panned, voxelAt } from "./view.js";

const [LEFT, RIGHT] = [0, 2];
const NOTCH = 60; // of a wheel's way, from which on it is a slice; mice give twice as much
const [WIDTH_STEPS, CENTRE_STEPS] = [200, 300]; // pixels for e times the width, and for a whole width

/**
 * Listen on the element of a stage. `stage.plane` and `stage.slice` are what it shows and `stage.matrix` where, in CSS
 * pixels from its upper left corner.
 */
export function listen(element, stage) {
  const pointers = new Map();
  let drag = null;
  let wheeled = 0;

  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("pointerleave", () => (state.pointer.value = null));
  element.addEventListener("pointerdown", (event) => {
    if (!stage.plane) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (drag?.kind === "stroke") endStroke();
    drag = pointers.size > 1 ? null : (drag ?? { kind: kindOf(event), button: event.button });
    if (drag?.kind === "stroke") stroke("start", event);
  });
  element.addEventListener("pointermove", (event) => {
    if (!stage.plane) return;
    const here = at(event);
    const before = pointers.get(event.pointerId);
    if (before) dragged(event, before, here);
    point(here);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    element.addEventListener(name, (event) => {
      if (drag?.kind === "stroke") endStroke();
      pointers.delete(event.pointerId);
      drag = null;
    });
  }
  element.addEventListener("wheel", wheel, { passive: false });

  function dragged(event, before, here) {
    if (pointers.size === 2) pinch(event.pointerId, before, here);
    else if (drag?.kind === "stroke") stroke("move", event);
    else if (drag) move(drag.kind, here.x - before.x, here.y - before.y);
    pointers.set(event.pointerId, here);
  }

  function at(event) {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  }

  function point({ x, y }) {
    const voxel = voxelAt(stage.matrix, x, y);
    const { rows, columns } = stage.plane;
    const isInside = voxel.row >= 0 && voxel.column >= 0 && voxel.row < rows && voxel.column < columns;
    state.pointer.value = isInside ? { ...voxel, axis: state.axis.value } : null;
  }

  /** A stroke is on the slice that is seen, also while another one is being read. */
  function stroke(phase, event) {
    if (!stage.slice) return;
    const { x, y } = at(event);
    const { axis, k: slice } = stage.slice;
    tell({ phase, ...voxelAt(stage.matrix, x, y), button: drag.button, slice, axis });
  }

  const endStroke = () => tell({ phase: "end" });

  function tell(detail) {
    element.dispatchEvent(new CustomEvent("stroke", { detail, bubbles: true }));
  }

  function move(kind, dx, dy) {
    if (kind === "window") changeWindow(Math.exp(dx / WIDTH_STEPS), -dy / CENTRE_STEPS);
    else state.view.value = panned(stage.plane, state.view.value, stage.matrix, dx, dy);
  }

  function pinch(id, before, here) {
    const [other] = [...pointers].filter(([one]) => one !== id).map(([, place]) => place);
    const [far, near] = [here, before].map((one) => Math.hypot(one.x - other.x, one.y - other.y));
    if (near > 0) zoomBy(far / near, voxelAt(stage.matrix, (here.x + other.x) / 2, (here.y + other.y) / 2));
  }

  function wheel(event) {
    if (!stage.plane) return;
    event.preventDefault();
    const way = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 20);
    if (event.ctrlKey || !isVolume(state.description.value)) {
      const { x, y } = at(event);
      zoomBy(Math.exp(-way / (event.ctrlKey && Math.abs(way) < 20 ? 60 : 400)), voxelAt(stage.matrix, x, y));
      return;
    }
    wheeled = Math.sign(way) === Math.sign(wheeled) ? wheeled + way : way;
    if (Math.abs(wheeled) < NOTCH) return;
    moveSlice(Math.sign(wheeled) * Math.max(1, Math.round(Math.abs(wheeled) / (2 * NOTCH))));
    wheeled = 0;
  }
}

function kindOf(event) {
  if (isHeld("w")) return "window";
  if (state.tool.value && (event.button === LEFT || event.button === RIGHT)) return "stroke";
  return event.button === RIGHT ? "window" : "move";
}
