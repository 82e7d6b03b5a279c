// What masks on a slice look like: outlines as paths, and fields of colour as small canvases. Made when first needed.
import { channels, frequencyColour } from "./colours.js";
import { outline } from "./outline.js";

const kept = new WeakMap();

/** The shapes of what api.marks gives, kept as long as that is. */
export function shapesOf(marks) {
  if (!kept.has(marks)) kept.set(marks, new Shapes(marks));
  return kept.get(marks);
}

class Shapes {
  #marks;
  #made = new Map();

  constructor(marks) {
    this.#marks = marks;
  }

  /** [r0, r1, c0, c1] of all fields of colour; null where nothing is marked. */
  get box() {
    const [r0, r1, c0, c1] = this.#marks.box;
    return r1 > r0 && c1 > c0 ? this.#marks.box : null;
  }

  /** Of how many masks each voxel of the box is. */
  get counts() {
    return this.#once("counts", () => {
      const sum = new Uint16Array(this.#marks.masks[0]?.length ?? 0);
      for (const mask of this.#marks.masks) for (let i = 0; i < sum.length; i += 1) sum[i] += mask[i];
      return sum;
    });
  }

  /** The edges of one mask. */
  outline(index) {
    return this.#once(`outline ${index}`, () => this.#path(this.#marks.masks[index]));
  }

  /** The edges of what at least `level` masks hold. */
  consensus(level) {
    return this.#once(`consensus ${level}`, () => this.#path(this.counts.map((count) => count >= level)));
  }

  /** The frequency map, clear where nothing is marked. */
  frequency() {
    const { count } = this.#marks;
    return this.#once("frequency", () => this.#field(this.counts, [null, ...steps(count).map((k) => frequencyColour(k, count))]));
  }

  /** One mask, filled with a colour. */
  filled(index, colour) {
    return this.#once(`filled ${index} ${colour}`, () => this.#field(this.#marks.masks[index], [null, channels(colour)]));
  }

  /** What at least `level` masks hold, filled with a colour. */
  filledConsensus(level, colour) {
    const fill = channels(colour);
    return this.#once(`held ${level} ${colour}`, () =>
      this.#field(this.counts, [null, ...steps(this.#marks.count).map((k) => (k < level ? null : fill))]),
    );
  }

  #once(key, make) {
    if (!this.#made.has(key)) this.#made.set(key, make());
    return this.#made.get(key);
  }

  #path(mask) {
    const [r0, r1, c0, c1] = this.#marks.box;
    return outline(mask, r1 - r0, c1 - c0, r0, c0);
  }

  #field(values, colours) {
    const [r0, r1, c0, c1] = this.#marks.box;
    return coloured(values, r1 - r0, c1 - c0, colours);
  }
}

/** A canvas of rows * columns pixels: the [red, green, blue] in `colours` at each of `values`, clear for null. */
export function coloured(values, rows, columns, colours) {
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const data = context.createImageData(columns, rows);
  const words = new Uint32Array(data.data.buffer);
  const table = new Uint32Array(Uint8Array.from(colours.flatMap((one) => (one ? [...one, 255] : [0, 0, 0, 0]))).buffer);
  for (let i = 0; i < words.length; i += 1) words[i] = table[values[i]];
  context.putImageData(data, 0, 0);
  return canvas;
}

const steps = (count) => Array.from({ length: count }, (_, index) => index + 1);
