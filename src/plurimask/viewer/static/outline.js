/**
 * The edges of a mask (rows * columns of 0 and 1) as a path, in coordinates (column, row) from (c0, r0): a line lies
 * between each voxel that is marked and each neighbour that is not; outside of the mask nothing is. Lines that go on
 * straight are one. Strokes want square caps, which close the corners.
 */
export function outline(mask, rows, columns, r0 = 0, c0 = 0) {
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
