// Colours on images, as pixels/colours.py has them; a test compares the two.

export const SAMPLE = "#ffc400";
export const EDITED = "#4df0ff";
const READERS = ["#56b4e9", "#e69f00", "#cc79a7", "#00b98a", "#f0e442", "#ee6a2c"];

// Viridis without its darkest fifth, in even steps.
const MAP = (
  "4144873e4a893b528b38598c355f8d31668e2f6c8e2c728e2a788e277e8e25848e238a8d21918c1f968b1e9c891fa28722a88428ae80" +
  "2fb47c38b97744bf7050c46a5ec9626ccd5a7ad1518bd6469bd93caddc30bddf26cde11ddfe318efe51cfde725"
).match(/../g).map((pair) => parseInt(pair, 16));

/** The colour of a reader, counted from 0. */
export const readerColour = (index) => READERS[index % READERS.length];

/** [red, green, blue] of "k of count samples" in a frequency map. */
export function frequencyColour(k, count) {
  const place = (k / count) * (MAP.length / 3 - 1);
  const step = Math.min(MAP.length / 3 - 2, Math.floor(place));
  return [0, 1, 2].map((one) => {
    const [from, to] = [MAP[3 * step + one], MAP[3 * step + 3 + one]];
    return Math.round(from + (to - from) * (place - step));
  });
}

/** How opaque one of `count` outlines is drawn, so that many stay legible and a single one is seen. */
export const outlineOpacity = (count) => Math.min(0.9, Math.max(0.15, 8 / (count + 4)));

/** [red, green, blue] of "#rrggbb". */
export const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
