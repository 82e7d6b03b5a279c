// The picture of one source on the shown slice. Two of them side by side share what they show and where.
import { readAhead, readSlice } from "./api.js";
import { count, make } from "./dom.js";
import { listen } from "./input.js";
import { paint, Picture, shapesOf } from "./paint.js";
import { state, watch } from "./state.js";
import { matrixOf, planeOf, roundLength } from "./view.js";

const LOOK = ["mode", "showReaders", "opacity", "sample", "level", "edit"];
const LETTERS = 13; // px of the smallest ones

export class Stage {
  #description; // signal
  #canvas = make("canvas", { role: "img" });
  #picture = new Picture();
  #readout;
  #slice = null; // the latest that was read
  #size = { width: 0, height: 0, ratio: 1, line: 1 };
  #reading = false;
  #waits = false;

  /** The stage of the source that a signal describes. `element` is to be put into the page. */
  constructor(description) {
    this.#description = description;
    this.element = make("div", { className: "stage", tabIndex: 0, role: "group" }, this.#canvas);
    this.#readout = makeReadout(this.element);
    new ResizeObserver(() => this.#measure()).observe(this.element);
    listen(this.element, this);
    const { axis, slice, channel, window, view, pointer } = state;
    watch([description, axis, slice, channel], () => this.#read());
    watch([window, view, ...LOOK.map((name) => state[name])], () => this.#paintSoon());
    watch([pointer], () => this.#point());
  }

  /** The plane that is shown, as view.js has it; null before there is one. */
  get plane() {
    const description = this.#description.value;
    return description && planeOf(description, state.axis.value);
  }

  /** What is on screen, as readSlice gives it: of the shown case and plane, though maybe not yet of the slice; or null. */
  get slice() {
    const [slice, description] = [this.#slice, this.#description.value];
    return slice && slice.id === description?.id && slice.axis === state.axis.value ? slice : null;
  }

  /** [r0, r1, c0, c1] of all marks of samples, else of readers, as far as they are on the shown slice; or null. */
  get marked() {
    const { samples, readers } = this.slice ?? {};
    return [samples, readers].map((marks) => marks && shapesOf(marks).box).find(Boolean) ?? null;
  }

  /** From (column, row) to CSS pixels of the stage. */
  get matrix() {
    return matrixOf(this.plane, state.view.value, this.#size.width, this.#size.height);
  }

  #measure() {
    const ratio = devicePixelRatio;
    const [width, height] = [this.element.clientWidth, this.element.clientHeight].map((one) => Math.round(one * ratio));
    Object.assign(this.#canvas, { width, height });
    const letters = parseFloat(getComputedStyle(this.element).fontSize) / LETTERS; // lines grow as letters do
    this.#size = { width: width / ratio, height: height / ratio, ratio, line: letters * ratio };
    this.#canvas.style.width = `${width / ratio}px`;
    this.#canvas.style.height = `${height / ratio}px`;
    this.#paint();
  }

  /** Read what is asked for, until what is there is what is asked for: slices that were passed over are left out. */
  async #read() {
    if (this.#reading) return;
    this.#reading = true;
    let asked;
    try {
      while (asked !== (asked = this.#asked())) {
        if (!asked) this.#slice = null;
        else await this.#take();
        this.#paintSoon();
      }
    } catch (error) {
      this.#slice = null;
      state.error.value = error.message;
      this.#paintSoon();
    }
    this.#reading = false;
    if (asked !== this.#asked()) this.#read();
  }

  async #take() {
    const [description, axis, k, channel] = [this.#description.value, state.axis.value, state.slice.value, state.channel.value];
    const slice = await readSlice(description, axis, k, channel);
    const direction = this.#slice?.axis === axis ? Math.sign(k - this.#slice.k) : 0;
    this.#slice = slice;
    readAhead(description, axis, k, channel, direction);
  }

  #asked() {
    const description = this.#description.value;
    const { id, source } = description ?? {};
    return description && [id, source, state.revision.value, state.axis.value, state.slice.value, state.channel.value].join(" ");
  }

  #paintSoon() {
    if (this.#waits) return;
    this.#waits = true;
    requestAnimationFrame(() => {
      this.#waits = false;
      this.#paint();
    });
  }

  #paint() {
    if (devicePixelRatio !== this.#size.ratio) return this.#measure(); // the window went to another screen
    const [slice, plane, { width, height, ratio, line }] = [this.slice, this.plane, this.#size];
    if (!width || !height) return;
    const context = this.#canvas.getContext("2d", { alpha: false });
    if (!slice || !state.window.value) {
      context.resetTransform();
      context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
      delete this.#canvas.dataset.slice;
      this.#readout.clear();
      return;
    }
    const picture = slice.image && this.#picture.of(slice.image, state.window.value);
    const look = Object.fromEntries(LOOK.map((name) => [name, state[name].value]));
    paint(context, matrixOf(plane, state.view.value, width * ratio, height * ratio), line, picture, slice, look);
    this.#canvas.dataset.slice = slice.k;
    this.#readout.place(plane, this.matrix, this.#size, slice, this.#description.value);
    this.#point();
  }

  #point() {
    if (this.slice) this.#readout.point(state.pointer.value, this.slice, this.matrix);
  }
}

const LONGEST_BAR = 0.22; // of the field's width

/** Build it in the element of a stage. */
function makeReadout(element) {
  const sides = Object.fromEntries(
    ["left", "right", "top", "bottom"].map((side) => [side, make("span", { className: `side ${side}`, ariaHidden: "true" })]),
  );
  const length = make("span");
  const bar = make("div", { className: "bar", ariaHidden: "true" }, length);
  const cross = make("div", { className: "cross", ariaHidden: "true", hidden: true });
  const under = make("p", { className: "under" });
  element.append(...Object.values(sides), bar, cross, under);

  function clear() {
    for (const one of Object.values(sides)) one.textContent = "";
    under.textContent = "";
    bar.hidden = true;
    cross.hidden = true;
    element.removeAttribute("aria-label");
  }

  function place(plane, matrix, { width }, slice, description) {
    for (const [side, one] of Object.entries(sides)) one.textContent = plane.sides?.[side] ?? "";
    const most = roundLength((LONGEST_BAR * width) / matrix.zoom);
    bar.hidden = !plane.isKnown;
    bar.style.width = `${most * matrix.zoom}px`;
    length.textContent = `${most} mm`;
    element.setAttribute("aria-label", description.name);
    element.querySelector("canvas").setAttribute("aria-label", described(plane, slice, description));
  }

  function point(pointer, slice, matrix) {
    const isHere = pointer !== null && pointer.axis === slice.axis;
    cross.hidden = !isHere || element.matches(":hover");
    under.textContent = isHere ? below(pointer, slice) : "";
    if (!isHere) return;
    const [x, y] = [
      matrix.a * pointer.column + matrix.c * pointer.row + matrix.e,
      matrix.b * pointer.column + matrix.d * pointer.row + matrix.f,
    ];
    cross.style.transform = `translate(${x}px, ${y}px)`;
  }

  return { clear, place, point };
}

/** The value of the voxel under the pointer, and how many mark it. */
function below(pointer, { columns, image, samples, readers }) {
  const [r, c] = [Math.floor(pointer.row), Math.floor(pointer.column)];
  const parts = [`row ${r + 1}, column ${c + 1}`];
  if (image) parts.push(number(image.raw[r * columns + c] * image.scale + image.offset));
  if (samples.count) parts.push(`${votes(samples, r, c)} of ${samples.count} samples`);
  if (readers?.count) parts.push(`${votes(readers, r, c)} of ${readers.count} readers`);
  return parts.join(" · ");
}

function votes(marks, r, c) {
  let sum = 0;
  for (let s = 0; s < marks.count; s += 1) sum += marks.bit(s, r, c);
  return sum;
}

function described(plane, slice, { name, shape, samples, readers }) {
  const where = shape[2] > 1 ? `, ${plane.name} slice ${slice.k + 1} of ${shape[slice.axis]}` : "";
  return `${name}${where}, with ${count(samples, "sample")} and ${count(readers, "reader")}`;
}

const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4)).replace("-", "\u2212");
