// The panel on which a person takes what is on screen, and corrects it.
import { setMode, shownPlane } from "./actions.js";
import { begin, brushSize, end, listen, mayLose, radiusOn, RADII, redo, resize, undo } from "./correcting.js";
import { button, capital, choice, make, sizeWords } from "./dom.js";
import { bind } from "./input.js";
import { measured, nameOf, representative, shown, sizeOf } from "./masks.js";
import { state, watch } from "./state.js";
import { matrixOf } from "./view.js";

const MODES = { sample: "sample", consensus: "consensus", nothing: "image" };
const TOOLS = [
  { value: "brush", label: "Brush", title: "Add to the mask; the right button erases (B)" },
  { value: "eraser", label: "Eraser", title: "Take away from the mask (E)" },
  { value: "", label: "Move", title: "The pointer moves the image (Esc)" },
];

export function mount(element) {
  element.append(taking(), correcting());
  const stages = document.getElementById("stages");
  listen(stages);
  followPointer(stages);
  bind("Correct", [
    { keys: ["b"], does: "brush; begins with what is on screen", run: () => useTool("brush") },
    { keys: ["e"], does: "eraser", run: () => useTool("eraser") },
    { keys: ["Escape"], does: "the pointer moves the image again", run: () => (state.tool.value = null) },
    { keys: ["["], does: "smaller brush", run: () => resize(-1) },
    { keys: ["]"], does: "larger brush", run: () => resize(1) },
    { keys: ["Ctrl+z"], does: "undo", run: undo },
    { keys: ["Ctrl+Shift+z", "Ctrl+y"], does: "redo", run: redo },
    { keys: ["right drag"], does: "erase, with either tool" },
  ]);
}

/** Which one mask is on screen, or is to be. */
function taking() {
  const fieldset = make("fieldset", { className: "segments" });
  const line = make("p", { className: "small quiet" });
  const start = button("Correct", "Correct what is on screen", beginOrSay);
  const element = make("div", { className: "taking" }, fieldset, line, start);
  watch([state.description, state.mode, state.sample, state.level, state.edit], () => {
    const description = state.description.value;
    element.hidden = !description || state.edit.value !== null;
    if (element.hidden) return;
    const taken = shown();
    choice(fieldset, "taken", "Take", offers(description), taken?.kind, (kind) => setMode(MODES[kind]));
    line.textContent = taken ? said(taken, description) : "Take one of these: what is on screen can be corrected and saved.";
    start.disabled = !taken;
  });
  return element;
}

function offers(description) {
  const { samples } = description;
  const sample = state.sample.value ?? representative(description);
  const labelled = (kind, more) => ({ value: kind, label: capital(nameOf({ kind, ...more }, samples)) });
  const nothing = { ...labelled("nothing"), title: "An empty mask" };
  return samples ? [labelled("sample", { sample }), labelled("consensus", { level: state.level.value }), nothing] : [nothing];
}

function said(taken, description) {
  const name = capital(nameOf(taken, description.samples));
  return taken.kind === "nothing" ? "An empty mask." : `${name}: ${sizeOf(taken, description)}.`;
}

async function beginOrSay() {
  try {
    await begin();
    requestAnimationFrame(() => document.getElementById("edit").parentElement.scrollIntoView({ block: "nearest" }));
  } catch (error) {
    state.error.value = error.message;
  }
}

function correcting() {
  const line = make("p", { className: "small" });
  const tools = make("fieldset", { className: "segments" });
  const back = button("Undo", "Undo (Ctrl+Z)", undo);
  const again = button("Redo", "Redo (Ctrl+Shift+Z)", redo);
  const stop = button("Stop", "Stop correcting", () => mayLose() && end());
  const element = make(
    "div",
    { className: "correcting" },
    line,
    tools,
    radius(),
    make("div", { className: "row" }, back, again, stop),
  );
  watch([state.edit, state.description], () => {
    const [edit, description] = [state.edit.value, state.description.value];
    element.hidden = !edit || !description;
    if (element.hidden) return;
    const amount = sizeWords(measured(edit.mask.count, description), description.unit);
    line.textContent = `From ${edit.name}: ${amount}${edit.isUnsaved ? ", not saved" : ""}.`;
    back.disabled = !edit.undo.canUndo;
    again.disabled = !edit.undo.canRedo;
  });
  watch([state.tool], () => {
    choice(tools, "tool", "Tool", TOOLS, state.tool.value ?? "", (tool) => (state.tool.value = tool || null));
  });
  return element;
}

function radius() {
  const slider = make("input", { type: "range", min: 0, max: RADII.length - 1, step: 1 });
  const now = make("output", { className: "number" });
  slider.addEventListener("input", () => (brushSize.value = slider.valueAsNumber));
  watch([brushSize, state.description, state.axis], () => {
    const plane = shownPlane();
    if (!plane) return;
    slider.value = brushSize.value;
    now.textContent = plane.isKnown ? `${Number(radiusOn(plane).toPrecision(2))} mm` : `${RADII[brushSize.value]} pixels`;
    slider.setAttribute("aria-valuetext", now.textContent);
  });
  return make("label", { className: "check" }, make("span", {}, "Radius"), slider, now);
}

async function useTool(tool) {
  if (!state.edit.value && shown()) await beginOrSay();
  if (state.edit.value) state.tool.value = tool;
}

// The brush as a circle about the pointer, as large as what it reaches.

/** Follow the pointer over the stages below an element. */
function followPointer(element) {
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
  watch([brushSize, state.view, state.tool, state.axis], place);
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
