// The list of cases: the whole page, or a narrow column beside a case. One list for both.
import * as api from "./api.js";
import { count, make, score, sizeWords } from "./dom.js";
import { Grid } from "./grid.js";
import { caseAddress, select, state, watch } from "./state.js";

// What can be sorted by, and which end is worth looking at first.
const SORTS = {
  name: { label: "name", order: "asc" },
  disagreement: { label: "disagreement", order: "desc" },
  size: { label: "size", order: "desc" },
  score: { label: "U-GED", order: "desc" },
};
const ORDERS = { asc: "↑ rising", desc: "↓ falling" };

let listing;
let grid;

/** Open the next case of the list that can be read, or the previous one with -1. */
export async function step(by) {
  const here = await placeOf(state.caseId.value);
  if (here < 0) return;
  let place = here + by;
  while ((await listing.get(place))?.reason) place += by;
  if (!listing.at(place)) return;
  grid.reveal(place);
  select(listing.at(place).id);
}

export function mount(element) {
  const sort = make("select", { className: "cases-sort" }, ...options());
  const order = make("button", { className: "cases-order", type: "button" });
  const facts = make("p", { className: "cases-facts" });
  const progress = make("progress", { className: "cases-progress", ariaLabel: "Values worked out", hidden: true });
  const broken = make("details", { className: "cases-broken", hidden: true });
  const list = make("ol", { className: "cases-list", ariaDescription: "Arrow keys lead from case to case" });
  const head = make("div", { className: "cases-head" }, make("label", {}, "sort by ", sort), order, facts, progress);
  element.append(head, broken, make("div", { className: "cases-box" }, list));

  listing = new Listing(
    () => {
      list.ariaBusy = String(Boolean(listing.computing));
      showFacts(facts, progress);
      showBroken(broken);
      grid.show(listing.total);
    },
    (error) => (state.error.value = error.message),
  );
  grid = new Grid(list, fill, (first, end) => listing.look(first, end));
  const ask = () => {
    order.textContent = ORDERS[order.value];
    order.ariaLabel = `Order: ${ORDERS[order.value].slice(2)}`;
    list.dataset.shown = sort.value;
    list.ariaBusy = "true";
    if (state.source.value) listing.ask({ source: state.source.value, sort: sort.value, order: order.value });
  };
  order.value = SORTS.name.order;
  sort.addEventListener("change", () => {
    order.value = SORTS[sort.value].order;
    ask();
    list.parentElement.scrollTop = 0;
  });
  order.addEventListener("click", () => {
    order.value = order.value === "asc" ? "desc" : "asc";
    ask();
    list.parentElement.scrollTop = 0;
  });
  watch([state.source, state.revision], ask);
  watch([state.caseId, state.other], () => grid.show(listing.total ?? 0));
  watch([state.caseId, state.source], revealCase);
}

async function revealCase() {
  const id = state.caseId.value;
  const place = await placeOf(id);
  if (place >= 0 && id === state.caseId.value) grid.reveal(place);
}

/** Where a case stands, or -1: one that is not there is told where it should be shown. */
const placeOf = async (id) => (id ? listing.find(id).catch(() => -1) : -1);

const options = () => Object.entries(SORTS).map(([value, { label }]) => make("option", { value }, label));

function showFacts(facts, progress) {
  const { total, computing } = listing;
  facts.textContent = computing
    ? `${count(total, "case")}; working out values, ${computing.done} of ${computing.total}`
    : count(total, "case");
  progress.hidden = !computing;
  if (computing) Object.assign(progress, { value: computing.done, max: computing.total });
}

function showBroken(details) {
  if (details.dataset.total === String(listing.brokenTotal)) return;
  details.dataset.total = listing.brokenTotal;
  details.hidden = !listing.brokenTotal;
  const lines = listing.broken.map((one) => make("li", {}, make("b", {}, one.name), ` ${reasonOf(one)}`));
  const rest = listing.brokenTotal - lines.length;
  if (rest > 0) lines.push(make("li", {}, `and ${rest} more`));
  details.replaceChildren(
    make("summary", {}, `${count(listing.brokenTotal, "case")} cannot be read`),
    make("ul", {}, ...lines),
  );
}

/** Put a case into its cell: a link, or why there is none. */
function fill(cell, place) {
  if (!cell.firstChild) cell.append(empty());
  const link = cell.firstChild;
  const [picture, name, facts, values] = link.children;
  const item = listing.at(place);
  link.toggleAttribute("data-broken", Boolean(item?.reason));
  name.textContent = item?.name.replace(LONG_UID, "$1…$2") ?? "…";
  name.title = item?.name ?? "";
  facts.replaceChildren(...(item?.reason ? [reasonOf(item)] : item ? factsOf(item) : []));
  values.replaceChildren(...(item && !item.reason ? valuesOf(item) : []));
  link.ariaCurrent = item && item.id === state.caseId.value ? "page" : null;
  showLater(picture, item?.samples == null ? "" : `${item.thumbnail}&revision=${state.revision.value}`);
  if (!item || item.reason) return link.removeAttribute("href");
  link.href = caseAddress(item.id, state.source.value, state.other.value);
}

function empty() {
  const part = (name) => make("span", { className: `case-${name}` });
  return make("a", { className: "case" }, make("img", { alt: "" }), part("name"), part("facts"), part("values"));
}

/** A UID too long for its place, of which what stands before and behind what all UIDs of a program share. */
const LONG_UID = /^([0-9.]{8})[0-9.]{20,}([0-9.]{12})$/;

/** Why a case cannot be read, without its name, which stands before it. */
const reasonOf = ({ name, reason }) => (reason.startsWith(`${name}: `) ? reason.slice(name.length + 2) : reason);

function factsOf({ samples, readers, shape }) {
  if (samples === null) return ["…"];
  const facts = [count(samples, "sample"), count(readers, "reader"), shape.join(" × ")];
  return facts.flatMap((fact) => [make("span", {}, fact), " "]);
}

function valuesOf(item) {
  const known = item.samples !== null;
  const values = {
    disagreement: score(item.disagreement),
    size: item.size_mean === null ? "–" : sizeWords(item.size_mean, item.unit),
    score: score(item.score),
  };
  return Object.entries(values).map(([key, value]) =>
    make("span", { data: { value: key } }, make("i", {}, `${SORTS[key].label} `), make("b", {}, known ? value : "…")),
  );
}

// What is known of the cases, read page by page as it is looked at, and again while values are being worked out.

const PAGE = 60;
const PAUSE = 80; // ms that places are in view before they are asked for
const AGAIN = 1000; // ms between two looks at values that are being worked out

/** Cases in an order. `changed()` is called when more is known, `failed(error)` where the server refuses. */
class Listing {
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

// Small pictures that wait for each other, so that they never stand in the way of a slice.

const AT_ONCE = 2;
const waiting = new Set();
const loading = new Set();

/** Show the picture at an address in an <img> when its turn comes, unless it left the page; none until then. */
function showLater(picture, address) {
  if (picture.dataset.address === address) return;
  picture.dataset.address = address;
  picture.removeAttribute("src");
  waiting.delete(picture);
  loading.delete(picture);
  if (address) waiting.add(picture);
  queueMicrotask(next);
}

function next() {
  for (const picture of waiting) {
    if (loading.size >= AT_ONCE) return;
    waiting.delete(picture);
    if (picture.isConnected) load(picture);
  }
}

function load(picture) {
  loading.add(picture);
  picture.onload = picture.onerror = () => {
    loading.delete(picture);
    next();
  };
  picture.src = picture.dataset.address;
}
