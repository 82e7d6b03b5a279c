// Draws a slice and what lies over it. Everything is placed by one matrix, so that image and masks cannot drift apart.
import { channels, coloured, EDITED, outline, outlineOpacity, readerColour, SAMPLE, shapesOf } from "./shapes.js";

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
