// The film strip: each sample on the shown slice, close up, those that are alike together.
import { showSample } from "./actions.js";
import { readSlice } from "./api.js";
import { make, sizeWords } from "./dom.js";
import { groupsOf } from "./masks.js";
import { paint, Picture, shapesOf } from "./paint.js";
import { state, watch } from "./state.js";
import { closeUp, matrixOf, planeOf } from "./view.js";

const [ROOM, LEAST] = [1.5, 1 / 3]; // of a close-up, as pixels/frame.py has them
const AFTER = 120; // ms that the strip lags behind at most, so that the image comes first
const LOOK = { mode: "sample", opacity: 1, showReaders: false, edit: null };
const picture = new Picture();
let strip;
let shown = null; // {slice, description, box}: what is drawn
let timer = 0;
let waits = 0;

export function mount(element) {
  const name = { label: "Samples, those that are alike together", orientation: "horizontal" };
  strip = make("div", { className: "film", role: "listbox", aria: name });
  element.append(strip);
  strip.addEventListener("click", ({ target }) => pick(target, (index) => (state.sample.value = index)));
  strip.addEventListener("dblclick", ({ target }) => pick(target, showSample));
  strip.addEventListener("keydown", pressed);
  strip.addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(drawSoon).observe(strip);
  const { description, axis, slice, channel, window, sample } = state;
  watch([description], build);
  watch([description, axis, slice, channel], readSoon);
  watch([window], drawSoon);
  watch([sample], mark);
}

function build() {
  const description = state.description.value;
  delete strip.dataset.slice;
  const had = strip.contains(document.activeElement);
  strip.replaceChildren(...(description ? groupsOf(description).map((one, place) => group(one, place, description)) : []));
  strip.parentElement.hidden = !description?.samples;
  strip.style.setProperty("--samples", description?.samples);
  strip.style.setProperty("--groups", description?.groups.length);
  mark();
  if (had) strip.querySelector("[tabindex='0']")?.focus();
}

function group({ members, text }, place, description) {
  const [often, what] = text.split(": ");
  const id = `film-${place}`;
  const title = make("div", { className: "film-title", id }, make("b", {}, often), " ", make("span", {}, what));
  const row = make("div", { className: "film-row" }, ...members.map((index) => frame(index, description)));
  return make("div", { className: "film-group", role: "group", aria: { labelledby: id } }, title, row);
}

function frame(index, { sizes, unit, shares }) {
  const [words, short] = [sizeWords(sizes[index], unit), sizeWords(sizes[index], "")]; // the unit stands above
  const picture = make("canvas", { ariaHidden: "true" });
  const caption = make("span", {}, short);
  let label = `sample ${index + 1}, ${words}`;
  if (shares) {
    const percent = `${Math.round(100 * shares[index])}%`;
    label += `; ${percent} of readers would draw about this`;
    caption.append(make("br"), make("b", { title: "of readers would draw about this" }, percent));
  }
  return make(
    "div",
    { className: "film-frame", role: "option", data: { index }, aria: { label } },
    picture,
    caption,
  );
}

function mark() {
  const frames = [...strip.querySelectorAll(".film-frame")];
  const chosen = frames.find((one) => Number(one.dataset.index) === state.sample.value);
  for (const one of frames) {
    one.ariaSelected = String(one === chosen);
    one.tabIndex = one === (chosen ?? frames[0]) ? 0 : -1;
  }
  if (chosen) bringIntoView(chosen);
}

/** Sideways alone: the page stays where it is. */
function bringIntoView(frame) {
  const [inner, outer] = [frame.getBoundingClientRect(), strip.getBoundingClientRect()];
  if (inner.left < outer.left) strip.scrollLeft += inner.left - outer.left - inner.width / 2;
  if (inner.right > outer.right) strip.scrollLeft += inner.right - outer.right + inner.width / 2;
}

function pick(target, run) {
  const frame = target.closest(".film-frame");
  if (frame) run(Number(frame.dataset.index));
}

function pressed(event) {
  const frames = [...strip.querySelectorAll(".film-frame")];
  const at = frames.indexOf(event.target);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: frames.length - 1 }[event.key];
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || at < 0) return;
  if (event.key === "Enter") showSample(Number(event.target.dataset.index));
  else if (event.key === " ") state.sample.value = Number(event.target.dataset.index);
  else if (to === undefined) return;
  else if (frames[to]) {
    state.sample.value = Number(frames[to].dataset.index);
    frames[to].focus({ preventScroll: true });
  }
  event.preventDefault();
}

function readSoon() {
  timer ||= setTimeout(read, AFTER);
}

async function read() {
  timer = 0;
  const asked = () => [state.description, state.axis, state.slice, state.channel].map((one) => one.value);
  const mine = asked();
  const [description, axis, k, channel] = mine;
  const isPast = () => asked().some((one, place) => one !== mine[place]);
  if (!description?.samples) return;
  try {
    const slice = await readSlice(description, axis, k, channel);
    if (isPast()) return;
    const before = shown?.description === description && shown.slice.axis === axis ? shown.box : null;
    shown = { slice, description, box: shapesOf(slice.samples).box ?? before };
    drawSoon();
  } catch (error) {
    if (!isPast()) state.error.value = error.message;
  }
}

function drawSoon() {
  waits ||= requestAnimationFrame(() => {
    waits = 0;
    if (shown?.description === state.description.value && state.window.value) draw(framesInView());
  });
}

function framesInView() {
  const { left, right } = strip.getBoundingClientRect();
  return [...strip.querySelectorAll(".film-frame")].filter((frame) => {
    const box = frame.getBoundingClientRect();
    return box.right > left && box.left < right;
  });
}

function draw(frames) {
  if (!frames.length) return;
  const { slice, description, box } = shown;
  const plane = planeOf(description, slice.axis);
  const side = Math.round(frames[0].firstChild.clientWidth * devicePixelRatio);
  const matrix = matrixOf(plane, closeUp(plane, box, ROOM, LEAST), side, side);
  const ground = slice.image && picture.of(slice.image, state.window.value);
  for (const frame of frames) {
    const canvas = frame.firstChild;
    if (canvas.width !== side || canvas.height !== side) Object.assign(canvas, { width: side, height: side });
    const context = canvas.getContext("2d", { alpha: false });
    paint(context, matrix, devicePixelRatio, ground, slice, { ...LOOK, sample: Number(frame.dataset.index) });
  }
  strip.dataset.slice = slice.k;
}
