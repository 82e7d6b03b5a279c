// The list of cases, read page by page as it is looked at, and again while values are being worked out.
import * as api from "./api.js";

const PAGE = 60;
const PAUSE = 80; // ms that places are in view before they are asked for
const AGAIN = 1000; // ms between two looks at values that are being worked out

/** Cases in an order. `changed()` is called when more is known, `failed(error)` where the server refuses. */
export class Listing {
  total = null; // how many there are; null until the server said so
  broken = []; // those that cannot be read, with reasons: the first of `brokenTotal`
  brokenTotal = 0;
  computing = null; // {done, total} of values that are being worked out
  #query = {};
  #pages = new Map();
  #reading = new Map(); // promises by page
  #view = [0, 1];
  #soon = 0;
  #again = 0;
  #changed;
  #failed;

  constructor(changed, failed) {
    this.#changed = changed;
    this.#failed = failed;
  }

  /** Begin anew: {source, sort, order}. */
  ask(query) {
    clearTimeout(this.#again);
    this.#again = 0;
    this.#query = query;
    this.#pages = new Map();
    this.#reading = new Map();
    this.#read();
  }

  /** The case at a place, or undefined where it is not known. */
  at(place) {
    return this.#pages.get(Math.floor(place / PAGE))?.items[place % PAGE];
  }

  /** The place of a case, or -1 where it is not known. */
  place(id) {
    for (const [page, { items }] of this.#pages) {
      const found = items.findIndex((item) => item.id === id);
      if (found >= 0) return page * PAGE + found;
    }
    return -1;
  }

  /** The place of a case, read if need be; -1 where it is not among these cases. */
  async find(id) {
    const query = this.#query;
    if (this.place(id) < 0) {
      const answer = await api.cases({ ...query, holding: id, limit: PAGE });
      if (query === this.#query) this.#take(answer.offset / PAGE, answer);
    }
    return this.place(id);
  }

  /** The case at a place, read if need be; undefined beyond the ends of the list. */
  async get(place) {
    if (place >= 0 && place < this.total && !this.at(place)) await this.#readPage(Math.floor(place / PAGE));
    return this.at(place);
  }

  /** Places from `first` up to `end` are in view. */
  look(first, end) {
    this.#view = [first, Math.max(end, first + 1)];
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#read(), PAUSE);
  }

  #read() {
    const [first, end] = this.#view;
    for (let page = Math.floor(first / PAGE); page * PAGE < end; page += 1) {
      if (!this.#pages.get(page)?.isFresh) this.#readPage(page);
    }
  }

  #readPage(page) {
    const [query, reading] = [this.#query, this.#reading];
    if (!reading.has(page)) {
      const answer = api.cases({ ...query, offset: page * PAGE, limit: PAGE });
      const taken = answer.then(
        (answer) => query === this.#query && this.#take(page, answer),
        (error) => query === this.#query && this.#failed(error),
      );
      reading.set(page, taken.finally(() => reading.delete(page)));
    }
    return reading.get(page);
  }

  #take(page, answer) {
    this.#pages.set(page, { items: answer.items, isFresh: true });
    this.total = answer.total;
    this.broken = answer.broken;
    this.brokenTotal = answer.broken_total;
    this.computing = answer.computing;
    if (answer.computing && !this.#again) this.#again = setTimeout(() => this.#readAgain(), AGAIN);
    this.#changed();
  }

  #readAgain() {
    this.#again = 0;
    for (const one of this.#pages.values()) one.isFresh = false;
    this.#read();
  }
}
