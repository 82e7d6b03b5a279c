// Correcting a mask: strokes of brush and eraser, taking them back, and not losing them. The panel is in edit.js.
import { setAxis, setSlice, shownPlane } from "./actions.js";
import { radiusOn, stroked } from "./brush.js";
import { caseAddress, state } from "./state.js";
import { nameOf, shown, take } from "./taking.js";
import { Undo } from "./undo.js";

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
