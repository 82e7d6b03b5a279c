// A mask of a whole case that can be changed, a slice at a time. No DOM in here.
import { packed } from "./bits.js";

const SENT = 2; // the axis that masks are sent across

export class EditMask {
  #voxels;
  #planes = new Map(); // slices that were asked for since the last change
  #count = 0;

  /** Nothing is marked in a new one. shape: [H, W, D]; a plane has one slice. */
  constructor(shape) {
    this.shape = shape;
    this.#voxels = new Uint8Array(shape[0] * shape[1] * shape[2]);
  }

  /** How many voxels are marked. */
  get count() {
    return this.#count;
  }

  /** A slice across an axis: rows * columns of 0 and 1, which are not to be changed. */
  get(axis, k) {
    const key = `${axis} ${k}`;
    if (!this.#planes.has(key)) {
      const plane = new Uint8Array(this.#voxels.length / this.shape[axis]);
      this.#each(axis, k, (i, place) => (plane[i] = this.#voxels[place]));
      this.#planes.set(key, plane);
    }
    return this.#planes.get(key);
  }

  /** Put another slice in the place of one. */
  set(axis, k, plane) {
    const before = this.get(axis, k);
    this.#each(axis, k, (i, place) => {
      if (plane[i] === before[i]) return;
      this.#count += plane[i] - before[i];
      this.#voxels[place] = plane[i];
    });
    this.#planes.clear();
    this.#planes.set(`${axis} ${k}`, plane);
  }

  /** What the server is sent: {axis, box: [r0, r1, c0, c1], slices: {k: base64 of the bits in the box}}. */
  sent() {
    const { box, marked } = this.#extent();
    const [r0, r1, c0, c1] = box;
    const [, columns] = this.shape;
    const slices = marked.map((k) => {
      const plane = this.get(SENT, k);
      const rows = Array.from({ length: r1 - r0 }, (_, r) => plane.subarray((r0 + r) * columns + c0, (r0 + r) * columns + c1));
      return [k, base64(packed(joined(rows, c1 - c0)))];
    });
    return { axis: SENT, box, slices: Object.fromEntries(slices) };
  }

  /** The rows and columns that hold all marks, and the marked slices, across the axis that is sent. */
  #extent() {
    const [rows, columns, depth] = this.shape;
    const box = [rows, 0, columns, 0];
    const isMarked = new Uint8Array(depth);
    for (let i = this.#voxels.indexOf(1); i >= 0; i = this.#voxels.indexOf(1, i + 1)) {
      const [r, c] = [Math.trunc(i / depth / columns), Math.trunc(i / depth) % columns];
      isMarked[i % depth] = 1;
      box[0] = Math.min(box[0], r);
      box[1] = r + 1;
      box[2] = Math.min(box[2], c);
      box[3] = Math.max(box[3], c + 1);
    }
    const marked = [...isMarked.keys()].filter((k) => isMarked[k]);
    return { box: marked.length ? box : [0, 0, 0, 0], marked };
  }

  /** Call fn(i, place) for each pixel i of a slice, row by row, and the place of its voxel. */
  #each(axis, k, fn) {
    const steps = [this.shape[1] * this.shape[2], this.shape[2], 1];
    const [a, b] = [0, 1, 2].filter((one) => one !== axis);
    for (let r = 0, i = 0; r < this.shape[a]; r += 1) {
      let place = k * steps[axis] + r * steps[a];
      for (let c = 0; c < this.shape[b]; c += 1, i += 1, place += steps[b]) fn(i, place);
    }
  }
}

function joined(rows, width) {
  const all = new Uint8Array(rows.length * width);
  rows.forEach((row, place) => all.set(row, place * width));
  return all;
}

function base64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
