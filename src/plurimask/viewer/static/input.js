// Keys, pointer and wheel. One table of keys: parts add theirs with `bind`, and the dialog of help lists them all.
import { changeWindow, isVolume, moveSlice, zoomBy } from "./actions.js";
import { make } from "./dom.js";
import { recall, remember, state } from "./state.js";
import { panned, voxelAt } from "./view.js";

const TABLE = []; // {section, keys, does, run}
const ANYWHERE = "Page"; // keys of other sections work beside an image alone
const LABELS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageUp: "Page ↑", PageDown: "Page ↓" };
const held = new Set();
let dialog;

/** Add keys: [{keys: ["+", "Shift+ArrowUp", "Ctrl+z"], does: "zoom in", run(event)}]; ones without `run` are told only. */
export function bind(section, entries) {
  TABLE.push(...entries.map((entry) => ({ section, ...entry })));
}

/** Whether a letter is held down. */
const isHeld = (letter) => held.has(letter);

export function openHelp() {
  dialog.replaceChildren(...contents());
  dialog.showModal();
}

/** Listen, from now on. */
export function mount() {
  dialog = make("dialog", { className: "help", aria: { labelledby: "help-title" } });
  document.body.append(dialog);
  addEventListener("keydown", pressed);
  addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()));
  addEventListener("blur", () => held.clear());
  bind("Page", [{ keys: ["?"], does: "this list", run: openHelp }]);
}

function pressed(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]") || isTyping(event.target, event)) return;
  held.add(event.key.toLowerCase());
  const name = nameOf(event);
  if (name.length === 1 && recall("keys") === "off" && !event.target.closest(".stage")) return;
  const entry = TABLE.find((one) => one.run && one.keys.includes(name));
  if (!entry || (entry.section !== ANYWHERE && state.page.value !== "case")) return;
  event.preventDefault();
  entry.run(event);
}

/** Whether a key belongs to what has the focus: text, sliders, choices, buttons. */
function isTyping(target, { key }) {
  if (target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])")) return true;
  if (target.matches("input, #cases *") && /^(Arrow|Page|Home|End)/.test(key)) return true;
  return target.matches("button, a, summary, input") && /^(Enter| )$/.test(key);
}

/** As the table writes it: modifiers first; Shift where it does not make another sign; letters small. */
function nameOf(event) {
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shifted = event.shiftKey && (event.key.length > 1 || letter !== letter.toUpperCase());
  return [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", shifted && "Shift", letter].filter(Boolean).join("+");
}

function contents() {
  const sections = [...new Set(TABLE.map((entry) => entry.section))];
  const shortcuts = make("input", { type: "checkbox", checked: recall("keys") !== "off" });
  shortcuts.addEventListener("change", () => remember("keys", shortcuts.checked ? "on" : "off"));
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  return [
    make("header", {}, make("h2", { id: "help-title" }, "Keys and pointer"), close),
    make("div", { className: "sections" }, ...sections.map(listed)),
    make("label", {}, shortcuts, " keys of a single letter or sign work anywhere, not on the image alone"),
    make("p", {}, make("a", { href: "api/v1/openapi.json" }, "The HTTP interface of this server, as OpenAPI")),
  ];
}

function listed(section) {
  const entries = TABLE.filter((entry) => entry.section === section);
  const rows = entries.flatMap(({ keys, does }) => [
    make("dt", {}, ...keys.flatMap((key, place) => [...(place ? [" "] : []), make("kbd", {}, written(key))])),
    make("dd", {}, does),
  ]);
  return make("section", {}, make("h3", {}, section), make("dl", {}, ...rows));
}

const written = (key) =>
  key.replace(/[^+]+$/, (last) => LABELS[last] ?? (last.length === 1 ? last.toUpperCase() : last)) || key;

// Pointer and wheel on a stage: move, zoom, window, slices, strokes of a tool.

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
