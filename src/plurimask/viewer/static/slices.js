// What is shown of a slice: the image, the samples, the readers. Slices ahead are read before they are asked for.
import { image, marks } from "./api.js";
import { unpacked } from "./bits.js";
import { planeOf } from "./view.js";

const AHEAD = 6;

/** {axis, k, rows, columns, image, samples, readers} of a slice; image is null where there is none. */
export async function readSlice(description, axis, k, channel) {
  const { id, source } = description;
  const { rows, columns } = planeOf(description, axis);
  const read = (kind) =>
    description.slices_marked[axis].includes(k)
      ? marks(id, kind, k, axis, source)
      : unpacked(new Uint8Array(0), description[kind], [0, 0, 0, 0]);
  const [picture, samples, readers] = await Promise.all([
    description.has_image ? image(id, k, axis, channel, source) : null,
    read("samples"),
    description.readers ? read("readers") : null,
  ]);
  return { axis, k, rows, columns, image: picture, samples, readers };
}

/** Read the next slices of a direction (1 or -1). What goes wrong is said when they are shown. */
export function readAhead(description, axis, k, channel, direction) {
  for (let step = 1; step <= AHEAD; step += 1) {
    const next = k + step * direction;
    if (next < 0 || next >= description.shape[axis]) return;
    readSlice(description, axis, next, channel).catch(() => {});
  }
}
