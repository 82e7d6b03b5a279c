/** What was made is kept by key, the latest used of it, up to a number of bytes. Errors are not kept. */
export class Kept {
  #most;
  #held = 0;
  #entries = new Map();

  constructor(bytes) {
    this.#most = bytes;
  }

  /** What is kept under a key, as a promise; `make` resolves to {value, bytes}. */
  get(key, make) {
    const entry = this.#entries.get(key) ?? this.#made(key, make);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.promise;
  }

  #made(key, make) {
    const entry = { bytes: 0 };
    entry.promise = make().then(
      ({ value, bytes }) => {
        if (this.#entries.get(key) === entry) this.#count(entry, bytes);
        return value;
      },
      (error) => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
        throw error;
      },
    );
    return entry;
  }

  #count(entry, bytes) {
    entry.bytes = bytes;
    this.#held += bytes;
    for (const [key, old] of this.#entries) {
      if (this.#held <= this.#most) return;
      if (old === entry || !old.bytes) continue;
      this.#entries.delete(key);
      this.#held -= old.bytes;
    }
  }
}
