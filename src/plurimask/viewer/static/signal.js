// Values that tell who listens when they change.

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
