// The samples of a case: their order, what is on screen as one mask that a person can take, and a mask that changes.
import { marks } from "./api.js";
import { sizeWords } from "./dom.js";
import { shapesOf } from "./paint.js";
import { state } from "./state.js";

/** The sample that stands for the largest group; null where there is none. */
export const representative = (description) => description?.groups[0]?.members[0] ?? null;

/** Groups of samples that are alike, the most frequent first, and large ones before small ones: [{members, text}]. */
export function groupsOf({ groups, sizes }) {
  const bySize = (a, b) => sizes[b] - sizes[a];
  return groups
    .map(({ members, text }) => ({ members: members.toSorted(bySize), text }))
    .sort((a, b) => b.members.length - a.members.length || bySize(a.members[0], b.members[0]));
}

const READ = 2; // the axis that samples are read across
const AT_ONCE = 8; // slices: all samples of each are in memory

/** {kind: "sample", sample} | {kind: "consensus", level} | {kind: "nothing"}, or null while no single mask is shown. */
export function shown() {
  const samples = state.description.value?.samples ?? 0;
  const [mode, sample, level] = [state.mode.value, state.sample.value, state.level.value];
  if (mode === "sample" && sample !== null && sample < samples) return { kind: mode, sample };
  if (mode === "consensus" && samples) return { kind: mode, level };
  return mode === "image" ? { kind: "nothing" } : null;
}

/** What a choice is called, such as "at least 6 of 12". */
export function nameOf({ kind, sample, level }, samples) {
  if (kind === "sample") return `sample ${sample + 1}`;
  return kind === "consensus" ? `at least ${level} of ${samples}` : "nothing";
}

/** How large it is, in words. */
export function sizeOf({ kind, sample, level }, description) {
  const { sizes, agreement, unit } = description;
  const value = kind === "sample" ? sizes[sample] : kind === "consensus" ? agreement[level - 1].size : 0;
  return sizeWords(value, unit);
}

/** The size of so many voxels, in the unit of the case. */
export function measured(voxels, { unit, spacing_mm: spacing, axes }) {
  if (!spacing) return voxels;
  const [a, b, c] = axes.map((axis, place) => axis.map((one) => one * spacing[place]));
  const across = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  return voxels * (unit === "mm²" ? Math.hypot(...across) : Math.abs(across[0] * c[0] + across[1] * c[1] + across[2] * c[2]));
}

/** The mask of a choice, read from all slices. Throws ApiError. */
export async function take(choice, { id, source, shape, slices_marked: marked }) {
  const mask = new EditMask(shape);
  if (choice.kind === "nothing") return mask;
  const revision = state.revision.value;
  for (let first = 0; first < marked[READ].length; first += AT_ONCE) {
    const some = marked[READ].slice(first, first + AT_ONCE);
    const slices = await Promise.all(some.map((k) => marks(id, "samples", k, READ, source)));
    if (revision !== state.revision.value) return take(choice, { id, source, shape, slices_marked: marked });
    slices.forEach((found, place) => mask.set(READ, some[place], spread(chosen(found, choice), found.box, shape)));
  }
  return mask;
}

/** What a choice marks of a slice, in the box of its marks. */
function chosen(found, { kind, sample, level }) {
  if (kind === "sample") return found.masks[sample];
  return shapesOf(found).counts.map((count) => (count >= level ? 1 : 0));
}

/** A box of a slice as a whole slice. */
function spread(pixels, [r0, r1, c0, c1], [rows, columns]) {
  const plane = new Uint8Array(rows * columns);
  for (let r = r0; r < r1; r += 1) {
    plane.set(pixels.subarray((r - r0) * (c1 - c0), (r - r0 + 1) * (c1 - c0)), r * columns + c0);
  }
  return plane;
}

const SENT = 2; // the axis that masks are sent across

/** A mask of a whole case that can be changed, a slice at a time. */
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

/** Zeros and ones as bits, the most significant first, without padding but at the end. */
function packed(mask) {
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  for (let i = 0; i < mask.length; i += 1) if (mask[i]) bytes[i >> 3] |= 128 >> (i & 7);
  return bytes;
}
