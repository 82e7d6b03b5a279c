// What all parts of the page share: values that tell who listens when they change, and what the browser remembers.

/** A value with listeners: `on(fn)` calls fn(value) at every change, at once, and returns what ends that. */
export function signal(value) {
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    set value(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const fn of [...listeners]) fn(value);
    },
    on(fn) {
      listeners.add(fn);
      return () => listeners.delete(fn);
    },
  };
}

/** Call fn now, and once after the running task for all changes in it. Returns what ends that. */
export function watch(signals, fn) {
  let waiting = false;
  let over = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      if (!over) fn();
    });
  };
  const offs = signals.map((one) => one.on(later));
  fn();
  return () => {
    over = true;
    for (const off of offs) off();
  };
}

export const MODES = ["outlines", "frequency", "sample", "consensus", "image"];

export const state = {
  info: signal(null), // GET info
  page: signal("list"), // "list" or "case"
  source: signal(null), // id of the mask sets that are shown
  other: signal(null), // id of those beside them, or null
  caseId: signal(null),
  description: signal(null), // GET cases/ID of `source`; null while it is being read
  otherDescription: signal(null), // of `other`
  axis: signal(2), // across which the volume is cut
  slice: signal(0), // along that axis
  channel: signal(0),
  window: signal(null), // {low, high}: the values shown as black and as white
  view: signal(null), // {zoom, row, column}: times the fitted size, and the voxel in the middle; null: fitted
  mode: signal("outlines"), // one of MODES
  showReaders: signal(true),
  opacity: signal(1), // of overlays, 0 to 1
  sample: signal(null), // number of the selected sample from 0, or null
  level: signal(1), // at least `level` of N samples
  edit: signal(null), // {mask: EditMask} while a mask is being corrected
  tool: signal(null), // "brush", "eraser", or null: the pointer moves the image
  pointer: signal(null), // {row, column, axis}: the voxel under the pointer, as floats; or null
  theme: signal("system"), // "system", "light" or "dark"
  revision: signal(0), // grows when samples were added: what was read of them before is out of date
  error: signal(null), // one line about what went wrong, or null
  said: signal(""), // what screen readers are told
};

/** What a source is called; nothing before the server said so. */
export const sourceLabel = (id) => state.info.value?.sources.find((one) => one.id === id)?.label ?? "";

/** Samples were added: read the description and the slice again. */
export function refresh() {
  state.revision.value += 1;
}

/** Go to a case, shown as it is now: the same sources. */
export function select(caseId) {
  location.hash = caseAddress(caseId, state.source.value, state.other.value);
}

/** The address of a case. `other` is the source beside it, if any. */
export function caseAddress(caseId, source, other = null) {
  const query = new URLSearchParams();
  if (source) query.set("source", source);
  if (other) query.set("with", other);
  return `#/case/${caseId}${query.size ? `?${query}` : ""}`;
}

/** The address of the list of cases. */
export function listAddress(source) {
  return source ? `#/?${new URLSearchParams({ source })}` : "#/";
}

const PREFIX = "plurimask.";
const remembered = new Map();

/** What was remembered under a key, or null. */
export function recall(key) {
  try {
    return remembered.get(key) ?? localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  remembered.set(key, value);
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Blocked or full: it lasts as long as the page.
  }
}
