// What people do with the image, by pointer, key or button alike.
import { groupsOf, representative } from "./masks.js";
import { state } from "./state.js";
import { panned, matrixOf, planeOf, zoomed } from "./view.js";

const NO_WIDTH = 1e-6; // of the range of values

/** The plane that is shown, or null. */
export function shownPlane() {
  const description = state.description.value;
  return description && planeOf(description, state.axis.value);
}

export function zoomBy(factor, at) {
  const plane = shownPlane();
  if (plane) state.view.value = zoomed(plane, state.view.value, factor, at);
}

export function fit() {
  state.view.value = null;
}

/** Move the image by shares of the field. */
export function panBy(x, y) {
  const plane = shownPlane();
  if (plane) state.view.value = panned(plane, state.view.value, matrixOf(plane, state.view.value, 1, 1), x, y);
}

export function setSlice(k) {
  const description = state.description.value;
  if (description) state.slice.value = Math.min(description.shape[state.axis.value] - 1, Math.max(0, Math.round(k)));
}

export const moveSlice = (steps) => setSlice(state.slice.value + steps);

/** Cut the volume across another axis, at the slice where its samples disagree most. */
export function setAxis(axis) {
  state.axis.value = axis;
  state.slice.value = state.description.value.start_slice[axis];
  state.view.value = null;
}

export const isVolume = (description) => description !== null && description.shape[2] > 1;

/** Change the window: times a factor wider, moved by a share of its width. */
export function changeWindow(factor, share) {
  const [window, description] = [state.window.value, state.description.value];
  if (!window || !description) return;
  const { low, high } = description.ranges[state.channel.value];
  const least = Math.max(NO_WIDTH * (high - low), Number.MIN_VALUE);
  const width = (window.high - window.low) * factor;
  setWindow((window.low + window.high) / 2 + share * width, Math.max(least, width));
}

export function setWindow(centre, width) {
  if (width > 0 && Number.isFinite(centre + width)) {
    state.window.value = { low: centre - width / 2, high: centre + width / 2 };
  }
}

export function resetWindow() {
  if (state.description.value) state.window.value = state.description.value.windows[state.channel.value];
}

/** Show another channel, with the window that is its own: values of two channels have no common measure. */
export function setChannel(channel) {
  state.channel.value = channel;
  resetWindow();
}

/** Show one sample alone; without a number, that which stands for the largest group. */
export function showSample(index = state.sample.value ?? representative(state.description.value)) {
  state.sample.value = index;
  state.mode.value = "sample";
}

/** Select the sample that is `steps` further in the order of the groups. */
export function moveSample(steps) {
  const description = state.description.value;
  if (!description?.samples) return;
  const order = groupsOf(description).flatMap((group) => group.members);
  const at = order.indexOf(state.sample.value);
  state.sample.value = at < 0 ? order.at(steps > 0 ? 0 : -1) : order[(at + steps + order.length) % order.length];
}

export function setMode(mode) {
  if (mode === "sample") showSample();
  else state.mode.value = mode;
}
