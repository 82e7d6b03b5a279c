// A round brush: round in mm, whatever the voxels are. No DOM in here.
import { signal } from "./signal.js";

/** Radii that one can choose, times the smaller side of a pixel. */
export const RADII = [0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32];

/** The place of the chosen one. */
export const size = signal(3);

/** Make the brush smaller or larger by so many steps. */
export function resize(steps) {
  size.value = Math.min(RADII.length - 1, Math.max(0, size.value + steps));
}

/** The sides of a pixel of a plane (view.js), in mm or, where that is unknown, in pixels. */
export function sides({ xc, xr, yc, yr }) {
  return { height: Math.hypot(xr, yr), width: Math.hypot(xc, yc) };
}

/** The chosen radius on a plane, in the unit of its sides. */
export function radiusOn(plane) {
  const { height, width } = sides(plane);
  return RADII[size.value] * Math.min(height, width);
}

/**
 * A slice after a stroke from one place to another, {row, column} as floats: `value` is put on the pixels whose middle is
 * within `radius` of the line between them, and on the pixel under its end.
 */
export function stroked(pixels, plane, from, to, radius, value) {
  const { rows, columns } = plane;
  const { height, width } = sides(plane);
  const drawn = pixels.slice();
  const [top, bottom] = span(from.row, to.row, radius / height, rows);
  const [left, right] = span(from.column, to.column, radius / width, columns);
  const line = { y: (to.row - from.row) * height, x: (to.column - from.column) * width };
  for (let r = top; r < bottom; r += 1) {
    for (let c = left; c < right; c += 1) {
      const isUnder = r === Math.floor(to.row) && c === Math.floor(to.column);
      const place = { y: (r + 0.5 - from.row) * height, x: (c + 0.5 - from.column) * width };
      if (isUnder || distance(place, line) <= radius) drawn[r * columns + c] = value;
    }
  }
  return drawn;
}

/** First and last + 1 of the pixels that a brush may reach along one side. */
function span(from, to, reach, length) {
  const first = Math.floor(Math.min(from, to) - reach);
  const last = Math.ceil(Math.max(from, to) + reach);
  return [Math.max(0, first), Math.min(length, Math.max(last, first + 1))];
}

/** From a place to a line that begins at 0. */
function distance(place, line) {
  const length = line.x ** 2 + line.y ** 2;
  const along = length ? Math.min(1, Math.max(0, (place.x * line.x + place.y * line.y) / length)) : 0;
  return Math.hypot(place.x - along * line.x, place.y - along * line.y);
}
