// Changes of slices that can be taken back, the latest of them. No DOM in here.

/** Changes are {axis, slice, before, after}: rows * columns of 0 and 1, before and after. */
export class Undo {
  #most;
  #done = [];
  #undone = [];
  #hasForgotten = false;

  /** Changes are held up to a number of bytes; always the last. */
  constructor(bytes) {
    this.#most = bytes;
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  /** Whether what was changed may differ from what it was at first. */
  get isChanged() {
    return this.canUndo || this.#hasForgotten;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  /** Add a change; what was taken back before is gone. */
  add(change) {
    this.#undone = [];
    this.#done.push(change);
    const weigh = (one) => one.before.length + one.after.length;
    let held = this.#done.reduce((sum, one) => sum + weigh(one), 0);
    while (held > this.#most && this.#done.length > 1) {
      held -= weigh(this.#done.shift());
      this.#hasForgotten = true;
    }
  }

  /** The change that is taken back, or undefined. */
  undo() {
    return moved(this.#done, this.#undone);
  }

  /** The change that is made again, or undefined. */
  redo() {
    return moved(this.#undone, this.#done);
  }
}

function moved(from, to) {
  const change = from.pop();
  if (change) to.push(change);
  return change;
}
