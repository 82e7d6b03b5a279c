// Masks as bits: the most significant first, without padding but at the end.

/**
 * Masks of a slice from packed bits. box: [r0, r1, c0, c1]; no bits at all where nothing is marked.
 * Each of `masks` is a Uint8Array of 0 and 1, the rows of the box one after the other.
 */
export function unpacked(bytes, count, box) {
  const [r0, , c0] = box;
  const [r1, c1] = bytes.length ? [box[1], box[3]] : [r0, c0];
  const width = c1 - c0;
  const area = (r1 - r0) * width;
  const all = new Uint8Array(Math.ceil((count * area) / 8) * 8);
  for (let i = 0, place = 0; place < all.length; i += 1, place += 8) {
    const byte = bytes[i];
    if (!byte) continue;
    for (let bit = 0; bit < 8; bit += 1) all[place + bit] = (byte >> (7 - bit)) & 1;
  }
  const masks = Array.from({ length: count }, (_, s) => all.subarray(s * area, (s + 1) * area));
  const bit = (s, r, c) => (r < r0 || r >= r1 || c < c0 || c >= c1 ? 0 : masks[s][(r - r0) * width + c - c0]);
  return { count, box: [r0, r1, c0, c1], masks, bit };
}

/** Zeros and ones, packed: the other way round. */
export function packed(mask) {
  const bytes = new Uint8Array(Math.ceil(mask.length / 8));
  for (let i = 0; i < mask.length; i += 1) if (mask[i]) bytes[i >> 3] |= 128 >> (i & 7);
  return bytes;
}
