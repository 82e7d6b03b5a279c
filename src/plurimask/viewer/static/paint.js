// What a slice and masks on it look like, and how they are drawn: colours, outlines as paths, pixels as small canvases,
// which are made when first needed. One matrix places everything, so that image and masks cannot drift apart.

// Colours on images are those of the package's pictures; a test compares the two.
export const SAMPLE = "#ffc400";
const EDITED = "#4df0ff";
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
const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** Holds the pixels of the latest slice; `of` makes them anew where the slice or the window is another. */
export class Picture {
  #canvas = new OffscreenCanvas(1, 1);
  #shown = {};

  /** A canvas of rows * columns pixels. */
  of(image, { low, high }) {
    const shown = this.#shown;
    if (shown.image === image && shown.low === low && shown.high === high) return this.#canvas;
    this.#shown = { image, low, high };
    if (this.#canvas.width !== image.columns || this.#canvas.height !== image.rows) {
      this.#canvas = new OffscreenCanvas(image.columns, image.rows);
    }
    const context = this.#canvas.getContext("2d", { alpha: false });
    const data = context.createImageData(image.columns, image.rows);
    grey(new Uint32Array(data.data.buffer), image, low, high);
    context.putImageData(data, 0, 0);
    return this.#canvas;
  }
}

function grey(words, { raw, scale, offset }, low, high) {
  const steps = 255 / (high - low);
  const [gain, start] = [scale * steps, (offset - low) * steps + 0.5];
  for (let i = 0; i < raw.length; i += 1) {
    const value = raw[i] * gain + start;
    words[i] = 0xff000000 | ((value < 0 ? 0 : value > 255 ? 255 : value | 0) * 0x010101);
  }
}

const known = new WeakMap();

/** The shapes of what api.marks gives, known as long as that is. */
export function shapesOf(marks) {
  if (!known.has(marks)) known.set(marks, new Shapes(marks));
  return known.get(marks);
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

  /** The edges of what at least `level` masks mark. */
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

  /** What at least `level` masks mark, filled with a colour. */
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
function coloured(values, rows, columns, colours) {
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

/**
 * The edges of a mask (rows * columns of 0 and 1) as a path, in coordinates (column, row) from (c0, r0): a line lies
 * between each voxel that is marked and each neighbour that is not; outside of the mask nothing is. Lines that go on
 * straight are one. Strokes want square caps, which close the corners.
 */
function outline(mask, rows, columns, r0 = 0, c0 = 0) {
  const path = new Path2D();
  const at = (r, c) => (r < 0 || c < 0 || r >= rows || c >= columns ? 0 : mask[r * columns + c]);
  edges(rows, columns, (y, x) => at(y - 1, x) !== at(y, x), (y, from, to) => {
    path.moveTo(c0 + from, r0 + y);
    path.lineTo(c0 + to, r0 + y);
  });
  edges(columns, rows, (x, y) => at(y, x - 1) !== at(y, x), (x, from, to) => {
    path.moveTo(c0 + x, r0 + from);
    path.lineTo(c0 + x, r0 + to);
  });
  return path;
}

/** Call add(line, from, to) for each run of edges on the lines 0 to `lines` between voxels. */
function edges(lines, length, isEdge, add) {
  for (let line = 0; line <= lines; line += 1) {
    let from = -1;
    for (let place = 0; place <= length; place += 1) {
      const here = place < length && isEdge(line, place);
      if (here && from < 0) from = place;
      if (!here && from >= 0) {
        add(line, from, place);
        from = -1;
      }
    }
  }
}

// Painting, in the order of what lies over what.

const COARSE = 3; // pixels a voxel from which on voxels are drawn as squares
const FILL = 0.22;
const [THIN, THICK, STEP] = [1.2, 2.2, 0.9];

/** Draw a slice. `matrix` leads from (column, row) to pixels of the canvas; `ratio` is pixels a unit of line widths. */
export function paint(context, matrix, ratio, picture, slice, look) {
  context.resetTransform();
  context.fillStyle = "#000";
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  const pen = { context, matrix: new DOMMatrix([matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f]), ratio };
  if (picture) {
    const least = Math.min(Math.hypot(matrix.a, matrix.b), Math.hypot(matrix.c, matrix.d));
    field(pen, picture, 0, 0, 1, least < COARSE);
  }
  const [readers, isThin] = [look.showReaders && slice.readers, look.mode === "outlines"];
  if (readers && isThin) paintReaders(pen, readers); // whose wide lines would hide those of samples
  paintSamples(pen, slice.samples, look);
  if (readers && !isThin) paintReaders(pen, readers);
  if (look.edit) paintEdited(pen, look.edit, slice);
}

function paintSamples(pen, samples, { mode, sample, level, opacity }) {
  const shapes = shapesOf(samples);
  const chosen = sample !== null && sample < samples.count ? sample : null;
  if (!shapes.box || mode === "image") return;
  const [r0, , c0] = shapes.box;
  if (mode === "outlines") {
    for (let s = 0; s < samples.count; s += 1) {
      if (s !== chosen) stroke(pen, shapes.outline(s), SAMPLE, THIN, opacity * outlineOpacity(samples.count));
    }
  } else if (mode === "frequency") {
    field(pen, shapes.frequency(), r0, c0, opacity, false);
  } else if (mode === "consensus") {
    field(pen, shapes.filledConsensus(level, SAMPLE), r0, c0, FILL * opacity, false);
    strong(pen, shapes.consensus(level), SAMPLE, opacity);
  } else if (chosen !== null) {
    field(pen, shapes.filled(chosen, SAMPLE), r0, c0, FILL * opacity, false);
  }
  if (chosen !== null && (mode === "outlines" || mode === "sample")) strong(pen, shapes.outline(chosen), SAMPLE, opacity);
}

/** The first reader's line is the widest, so that equal outlines are all seen. */
function paintReaders(pen, readers) {
  const shapes = shapesOf(readers);
  if (!shapes.box) return;
  for (let reader = 0; reader < readers.count; reader += 1) {
    const wider = Math.min(5, readers.count - 1 - reader) * STEP;
    stroke(pen, shapes.outline(reader), readerColour(reader), 1.5 + wider, 1);
  }
}

function paintEdited(pen, { mask }, { axis, k, rows, columns }) {
  const plane = mask.get(axis, k);
  field(pen, coloured(plane, rows, columns, [null, channels(EDITED)]), 0, 0, FILL, false);
  strong(pen, outline(plane, rows, columns), EDITED, 1);
}

/** Draw a canvas whose pixels are voxels from (r0, c0) on. */
function field({ context, matrix }, canvas, r0, c0, opacity, smooth) {
  context.setTransform(matrix);
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "medium";
  context.globalAlpha = opacity;
  context.drawImage(canvas, c0, r0);
}

/** A line that is seen on any ground. */
function strong(pen, path, colour, opacity) {
  stroke(pen, path, "#000", THICK + 1.8, 0.45 * opacity);
  stroke(pen, path, colour, THICK, opacity);
}

/** Lines are as wide on any voxels: the path is placed first, and drawn then. */
function stroke({ context, matrix, ratio }, path, colour, width, opacity) {
  const placed = new Path2D();
  placed.addPath(path, matrix);
  context.resetTransform();
  context.lineCap = "square";
  context.lineWidth = width * ratio;
  context.strokeStyle = colour;
  context.globalAlpha = opacity;
  context.stroke(placed);
}
