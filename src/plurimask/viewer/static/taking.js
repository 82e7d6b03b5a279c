// What is on screen as one mask that a person can take: a sample, a consensus, or nothing.
import { marks } from "./api.js";
import { EditMask } from "./mask.js";
import { state } from "./state.js";
import { sizeWords } from "./words.js";

const AXIS = 2; // the axis that samples are read across
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
  for (let first = 0; first < marked[AXIS].length; first += AT_ONCE) {
    const some = marked[AXIS].slice(first, first + AT_ONCE);
    const slices = await Promise.all(some.map((k) => marks(id, "samples", k, AXIS, source)));
    if (revision !== state.revision.value) return take(choice, { id, source, shape, slices_marked: marked });
    slices.forEach((found, place) => mask.set(AXIS, some[place], spread(held(found, choice), found.box, shape)));
  }
  return mask;
}

/** What a choice holds of a slice, in the box of its marks. */
function held({ masks }, { kind, sample, level }) {
  if (kind === "sample") return masks[sample];
  const counts = new Uint16Array(masks[0].length);
  for (const mask of masks) for (let i = 0; i < mask.length; i += 1) counts[i] += mask[i];
  return counts.map((count) => (count >= level ? 1 : 0));
}

/** A box of a slice as a whole slice. */
function spread(pixels, [r0, r1, c0, c1], [rows, columns]) {
  const plane = new Uint8Array(rows * columns);
  for (let r = r0; r < r1; r += 1) {
    plane.set(pixels.subarray((r - r0) * (c1 - c0), (r - r0 + 1) * (c1 - c0)), r * columns + c0);
  }
  return plane;
}
