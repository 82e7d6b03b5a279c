// Correcting a mask: strokes of brush and eraser, taking them back, and not losing them. The panel is in edit.js.
import { setAxis, setSlice, shownPlane } from "./actions.js";
import { nameOf, shown, take } from "./masks.js";
import { caseAddress, signal, state } from "./state.js";

const RIGHT = 2; // button
const MOST_UNDO = 64 * 2 ** 20; // bytes
let stroke = null; // {axis, slice, before, at, value} while the pointer is down

/** Begin to correct what is on screen. */
export async function begin() {
  const [choice, description] = [shown(), state.description.value];
  const mask = await take(choice, description);
  if (state.description.value?.id !== description.id || state.edit.value) return;
  const name = nameOf(choice, description.samples);
  const { id, source } = description;
  state.edit.value = { mask, choice, name, id, source, undo: new Undo(MOST_UNDO), isUnsaved: false, before: state.mode.value };
  state.mode.value = "image";
  state.tool.value = "brush";
  state.said.value = `Correcting ${name}`;
}

/** Whether strokes may be lost, if there are any: asks. */
export function mayLose() {
  return !state.edit.value?.isUnsaved || confirm("The corrections have not been saved. Leave them?");
}

/** Stop correcting; what was not saved is lost. */
export function end() {
  if (state.edit.value) state.mode.value = state.edit.value.before;
  stroke = null;
  state.edit.value = null;
  state.tool.value = null;
}

/** What was corrected so far is saved. */
export function saved() {
  state.edit.value = { ...state.edit.value, isUnsaved: false };
}

export function undo() {
  finish();
  change(state.edit.value?.undo.undo(), "before", "Taken back");
}

export function redo() {
  finish();
  change(state.edit.value?.undo.redo(), "after", "Made again");
}

/** Listen to strokes on an element and below, and to attempts to leave. */
export function listen(element) {
  element.addEventListener("stroke", ({ detail }) => draw(detail));
  addEventListener("beforeunload", (event) => {
    if (state.edit.value?.isUnsaved) event.preventDefault();
  });
  addEventListener("hashchange", (event) => {
    if (!state.edit.value || isSameCase(new URL(event.newURL).hash)) return;
    if (mayLose()) return end();
    event.stopImmediatePropagation();
    history.replaceState(null, "", event.oldURL);
  });
}

function isSameCase(hash) {
  return (hash !== "" && !hash.startsWith("#/")) || hash.split("?")[0] === caseAddress(state.edit.value.id, null);
}

function draw({ phase, row, column, button, slice, axis }) {
  const isOther = stroke && (stroke.axis !== axis || stroke.slice !== slice);
  if (phase !== "move" || isOther) finish();
  const edit = state.edit.value;
  if (phase === "end" || !edit || !["brush", "eraser"].includes(state.tool.value)) return;
  const to = { row, column };
  const value = button === RIGHT || state.tool.value === "eraser" ? 0 : 1;
  stroke ??= { axis, slice, before: edit.mask.get(axis, slice), at: to, value };
  const plane = shownPlane();
  edit.mask.set(axis, slice, stroked(edit.mask.get(axis, slice), plane, stroke.at, to, radiusOn(plane), stroke.value));
  stroke.at = to;
  state.edit.value = { ...edit };
}

/** A stroke is one change, if it changed anything. */
function finish() {
  if (!stroke) return;
  const { axis, slice, before } = stroke;
  const edit = state.edit.value;
  const after = edit.mask.get(axis, slice);
  stroke = null;
  if (after.every((one, i) => one === before[i])) return;
  edit.undo.add({ axis, slice, before, after });
  state.edit.value = { ...edit, isUnsaved: true };
}

function change(one, side, said) {
  if (!one) return;
  const edit = state.edit.value;
  edit.mask.set(one.axis, one.slice, one[side]);
  if (state.axis.value !== one.axis) setAxis(one.axis);
  setSlice(one.slice);
  state.edit.value = { ...edit, isUnsaved: true };
  state.said.value = said;
}

// The brush: round in mm, whatever the voxels are.

/** Radii that one can choose, times the smaller side of a pixel. */
export const RADII = [0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/** The place of the chosen one. */
export const brushSize = signal(3);

/** Make the brush smaller or larger by so many steps. */
export function resize(steps) {
  brushSize.value = Math.min(RADII.length - 1, Math.max(0, brushSize.value + steps));
}

/** The sides of a pixel of a plane (view.js), in mm or, where that is unknown, in pixels. */
function sides({ xc, xr, yc, yr }) {
  return { height: Math.hypot(xr, yr), width: Math.hypot(xc, yc) };
}

/** The chosen radius on a plane, in the unit of its sides. */
export function radiusOn(plane) {
  const { height, width } = sides(plane);
  return RADII[brushSize.value] * Math.min(height, width);
}

/**
 * A slice after a stroke from one place to another, {row, column} as floats: `value` is put on the pixels whose middle is
 * within `radius` of the line between them, and on the pixel under its end.
 */
export function stroked(pixels, plane, from, to, radius, value) {
  const { rows, columns } = plane;
  const { height, width } = sides(plane);
  const drawn = pixels.slice();
  const [top, bottom] = span(from.row, to.row, radius / height, rows);
  const [left, right] = span(from.column, to.column, radius / width, columns);
  const line = { y: (to.row - from.row) * height, x: (to.column - from.column) * width };
  for (let r = top; r < bottom; r += 1) {
    for (let c = left; c < right; c += 1) {
      const isUnder = r === Math.floor(to.row) && c === Math.floor(to.column);
      const place = { y: (r + 0.5 - from.row) * height, x: (c + 0.5 - from.column) * width };
      if (isUnder || distance(place, line) <= radius) drawn[r * columns + c] = value;
    }
  }
  return drawn;
}

/** First and last + 1 of the pixels that a brush may reach along one side. */
function span(from, to, reach, length) {
  const first = Math.floor(Math.min(from, to) - reach);
  const last = Math.ceil(Math.max(from, to) + reach);
  return [Math.max(0, first), Math.min(length, Math.max(last, first + 1))];
}

/** From a place to a line that begins at 0. */
function distance(place, line) {
  const length = line.x ** 2 + line.y ** 2;
  const along = length ? Math.min(1, Math.max(0, (place.x * line.x + place.y * line.y) / length)) : 0;
  return Math.hypot(place.x - along * line.x, place.y - along * line.y);
}

/** Changes are {axis, slice, before, after}: rows * columns of 0 and 1, before and after. */
export class Undo {
  #most;
  #done = [];
  #undone = [];
  #hasForgotten = false;

  /** Changes are held up to a number of bytes; always the last. */
  constructor(bytes) {
    this.#most = bytes;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  /** Whether what was changed may differ from what it was at first. */
  get isChanged() {
    return this.canUndo || this.#hasForgotten;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** Add a change; what was taken back before is gone. */
  add(change) {
    this.#undone = [];
    this.#done.push(change);
    const weigh = (one) => one.before.length + one.after.length;
    let held = this.#done.reduce((sum, one) => sum + weigh(one), 0);
    while (held > this.#most && this.#done.length > 1) {
      held -= weigh(this.#done.shift());
      this.#hasForgotten = true;
    }
  }

  /** The change that is taken back, or undefined. */
  undo() {
    return moved(this.#done, this.#undone);
  }

  /** The change that is made again, or undefined. */
  redo() {
    return moved(this.#undone, this.#done);
  }
}

function moved(from, to) {
  const change = from.pop();
  if (change) to.push(change);
  return change;
}
