// What is shown of a slice: the image, the samples, the readers. Slices ahead are read before they are asked for.
import { image, marks } from "./api.js";
import { unpacked } from "./bits.js";
import { planeOf } from "./view.js";

const [AHEAD, AROUND] = [6, 2]; // slices in the direction that one goes, and to either side where there is none

/** {id, axis, k, rows, columns, image, samples, readers} of a slice; image is null where there is none. */
export async function readSlice(description, axis, k, channel, priority = "high") {
  const { id, source } = description;
  const { rows, columns } = planeOf(description, axis);
  const read = (kind) =>
    description.slices_marked[axis].includes(k)
      ? marks(id, kind, k, axis, source, priority)
      : unpacked(new Uint8Array(0), description[kind], [0, 0, 0, 0]);
  const [picture, samples, readers] = await Promise.all([
    description.has_image ? image(id, k, axis, channel, source, priority) : null,
    read("samples"),
    description.readers ? read("readers") : null,
  ]);
  return { id, axis, k, rows, columns, image: picture, samples, readers };
}

/** Read slices that may be next; `direction` is 1, -1 or 0. What goes wrong is said when they are shown. */
export function readAhead(description, axis, k, channel, direction) {
  const steps = Array.from({ length: direction ? AHEAD : AROUND }, (_, index) => index + 1);
  for (const next of steps.flatMap((step) => (direction ? [k + step * direction] : [k + step, k - step]))) {
    if (next >= 0 && next < description.shape[axis]) readSlice(description, axis, next, channel, "low").catch(() => {});
  }
}
