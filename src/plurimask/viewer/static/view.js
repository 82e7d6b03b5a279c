// Where voxels lie on the screen. Voxel (r, c) covers the square from (c, r) to (c + 1, r + 1). No DOM in here.

const NAMES = ["sagittal", "coronal", "axial"];
const LETTERS = ["RL", "AP", "SI"];
// What radiologists have at the right and at the bottom, in RAS+, by the direction that a plane is cut across.
const RIGHT = [[0, -1, 0], [-1, 0, 0], [-1, 0, 0]];
const BOTTOM = [[0, 0, -1], [0, 0, -1], [0, -1, 0]];
const [LEAST, MOST] = [0.5, 64];

/**
 * A plane of a case cut across `axis`: rows, columns, name, and how it is turned on the screen, so that volumes look as
 * radiologists know them whatever the order of their axes: (x, y) mm = (xc * column + xr * row, yc * column + yr * row).
 * `sides` are the letters at left, right, top, bottom; null where directions are unknown.
 */
export function planeOf({ shape, spacing_mm: spacing, axes }, axis) {
  const [a, b] = [0, 1, 2].filter((one) => one !== axis);
  const size = spacing ?? [1, 1, 1];
  const plane = { rows: shape[a], columns: shape[b], axis, isKnown: Boolean(spacing) };
  if (!axes) return { ...plane, name: `axis ${axis + 1}`, sides: null, xc: size[b], xr: 0, yc: 0, yr: size[a] };
  const across = largest(cross(axes[a], axes[b]));
  const [right, bottom] = [RIGHT[across], BOTTOM[across]];
  const down = dot(axes[a], bottom) ** 2 + dot(axes[b], right) ** 2;
  const turned = dot(axes[a], right) ** 2 + dot(axes[b], bottom) ** 2 > down;
  const [x, y] = turned ? [a, b] : [b, a];
  const [signX, signY] = [dot(axes[x], right) < 0 ? -1 : 1, dot(axes[y], bottom) < 0 ? -1 : 1];
  const [alongX, alongY] = [signX * size[x], signY * size[y]];
  const [atRight, atLeft] = letters(axes[x], signX);
  const [atBottom, atTop] = letters(axes[y], signY);
  return {
    ...plane,
    name: NAMES[across],
    sides: { left: atLeft, right: atRight, top: atTop, bottom: atBottom },
    ...(turned ? { xc: 0, xr: alongX, yc: alongY, yr: 0 } : { xc: alongX, xr: 0, yc: 0, yr: alongY }),
  };
}

/** From (column, row) to pixels of a field: x = a * column + c * row + e, y = b * column + d * row + f; zoom is px per mm. */
export function matrixOf(plane, view, width, height) {
  const zoom = (view?.zoom ?? 1) * fitted(plane, width, height);
  const { row, column } = view ?? middle(plane);
  const [a, b, c, d] = [plane.xc, plane.yc, plane.xr, plane.yr].map((one) => one * zoom);
  return { a, b, c, d, e: width / 2 - a * column - c * row, f: height / 2 - b * column - d * row, zoom };
}

/** The voxel at a pixel, as floats: (r, c) lies between its edges r and r + 1, c and c + 1. */
export function voxelAt(matrix, x, y) {
  const step = voxelStep(matrix, x - matrix.e, y - matrix.f);
  return { row: step.rows, column: step.columns };
}

/** The view zoomed by a factor about a voxel, which stays where it is. */
export function zoomed(plane, view, factor, { row, column } = view ?? middle(plane)) {
  const from = view ?? { zoom: 1, ...middle(plane) };
  const zoom = Math.min(MOST, Math.max(LEAST, from.zoom * factor));
  const share = from.zoom / zoom;
  return inside(plane, { zoom, row: row + (from.row - row) * share, column: column + (from.column - column) * share });
}

/** The view after the image was drawn along by (dx, dy) pixels. */
export function panned(plane, view, matrix, dx, dy) {
  const from = view ?? { zoom: 1, ...middle(plane) };
  const step = voxelStep(matrix, dx, dy);
  return inside(plane, { zoom: from.zoom, row: from.row - step.rows, column: from.column - step.columns });
}

/** The view of a box of voxels [r0, r1, c0, c1] with room around, at least a share of the plane; of all without one. */
export function closeUp(plane, box, room, least) {
  if (!box) return null;
  const [r0, r1, c0, c1] = box;
  const whole = longer(plane, plane.rows, plane.columns);
  const side = Math.max(room * longer(plane, r1 - r0, c1 - c0), whole * least);
  return { zoom: whole / side, row: (r0 + r1) / 2, column: (c0 + c1) / 2 };
}

/** A length of 1, 2 or 5 times a power of ten that is at most `most`. */
export function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [5, 2, 1].find((one) => one * power <= most * (1 + 1e-9));
}

function fitted(plane, width, height) {
  const { across, down } = extent(plane, plane.rows, plane.columns);
  return Math.min(width / across, height / down);
}

/** How far so many rows and columns reach on the screen, in mm. */
function extent({ xc, xr, yc, yr }, rows, columns) {
  return { across: Math.abs(xc) * columns + Math.abs(xr) * rows, down: Math.abs(yc) * columns + Math.abs(yr) * rows };
}

function longer(plane, rows, columns) {
  const { across, down } = extent(plane, rows, columns);
  return Math.max(across, down);
}

const middle = ({ rows, columns }) => ({ row: rows / 2, column: columns / 2 });

function inside({ rows, columns }, { zoom, row, column }) {
  return { zoom, row: Math.min(rows, Math.max(0, row)), column: Math.min(columns, Math.max(0, column)) };
}

function voxelStep({ a, b, c, d }, x, y) {
  const size = a * d - b * c;
  return { columns: (d * x - c * y) / size, rows: (a * y - b * x) / size };
}

/** The letters of the side that a direction leads to and of the other; RAS+. */
function letters(direction, sign) {
  const place = largest(direction);
  const [ahead, behind] = LETTERS[place];
  return direction[place] * sign > 0 ? [ahead, behind] : [behind, ahead];
}

function largest(vector) {
  const sizes = vector.map(Math.abs);
  return sizes.indexOf(Math.max(...sizes));
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
