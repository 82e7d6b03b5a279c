// What stands around the image: sides, a bar of known length, and what is under the pointer.
import { make } from "./dom.js";
import { roundLength } from "./view.js";
import { count } from "./words.js";

const LONGEST_BAR = 0.22; // of the field's width

/** Build it in the element of a stage. */
export function makeReadout(element) {
  const sides = Object.fromEntries(
    ["left", "right", "top", "bottom"].map((side) => [side, make("span", { className: `side ${side}`, ariaHidden: "true" })]),
  );
  const length = make("span");
  const bar = make("div", { className: "bar", ariaHidden: "true" }, length);
  const cross = make("div", { className: "cross", ariaHidden: "true", hidden: true });
  const under = make("p", { className: "under" });
  element.append(...Object.values(sides), bar, cross, under);

  function clear() {
    for (const one of Object.values(sides)) one.textContent = "";
    under.textContent = "";
    bar.hidden = true;
    cross.hidden = true;
    element.removeAttribute("aria-label");
  }

  function place(plane, matrix, { width }, slice, description) {
    for (const [side, one] of Object.entries(sides)) one.textContent = plane.sides?.[side] ?? "";
    const most = roundLength((LONGEST_BAR * width) / matrix.zoom);
    bar.hidden = !plane.isKnown;
    bar.style.width = `${most * matrix.zoom}px`;
    length.textContent = `${most} mm`;
    element.setAttribute("aria-label", description.name);
    element.querySelector("canvas").setAttribute("aria-label", told(plane, slice, description));
  }

  function point(pointer, slice, matrix) {
    const isHere = pointer !== null && pointer.axis === slice.axis;
    cross.hidden = !isHere || element.matches(":hover");
    under.textContent = isHere ? below(pointer, slice) : "";
    if (!isHere) return;
    const [x, y] = [
      matrix.a * pointer.column + matrix.c * pointer.row + matrix.e,
      matrix.b * pointer.column + matrix.d * pointer.row + matrix.f,
    ];
    cross.style.transform = `translate(${x}px, ${y}px)`;
  }

  return { clear, place, point };
}

/** The value of the voxel under the pointer, and how many hold it. */
function below(pointer, { columns, image, samples, readers }) {
  const [r, c] = [Math.floor(pointer.row), Math.floor(pointer.column)];
  const parts = [`row ${r + 1}, column ${c + 1}`];
  if (image) parts.push(number(image.raw[r * columns + c] * image.scale + image.offset));
  if (samples.count) parts.push(`${held(samples, r, c)} of ${samples.count} samples`);
  if (readers?.count) parts.push(`${held(readers, r, c)} of ${readers.count} readers`);
  return parts.join(" · ");
}

function held(marks, r, c) {
  let sum = 0;
  for (let s = 0; s < marks.count; s += 1) sum += marks.bit(s, r, c);
  return sum;
}

function told(plane, slice, { name, shape, samples, readers }) {
  const where = shape[2] > 1 ? `, ${plane.name} slice ${slice.k + 1} of ${shape[slice.axis]}` : "";
  return `${name}${where}, with ${count(samples, "sample")} and ${count(readers, "reader")}`;
}

const number = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4)).replace("-", "\u2212");
