// A list as long as you like, of which only what is in view is in the document.

const SPARE = 3; // rows beyond the view
const WIDE = 30; // rem from which cells stand side by side
const CELLS = { wide: { width: 20, height: 7.5 }, narrow: { width: WIDE, height: 4.5 } }; // rem

/** Cells in rows, in an <ol> that lies in a scrolling box. One cell can be tabbed to; arrows lead to the others. */
export class Grid {
  #list;
  #fill;
  #seen;
  #cells = new Map();
  #count = 0;
  #current = 0;
  #kept = "";
  #shape = { columns: 1, height: 1 };

  /**
   * @param {HTMLOListElement} list of the cells
   * @param {(cell: HTMLLIElement, place: number) => void} fill puts one link into a cell, or changes it
   * @param {(first: number, end: number) => void} seen is told which places are in view
   */
  constructor(list, fill, seen) {
    this.#list = list;
    this.#fill = fill;
    this.#seen = seen;
    addEventListener("scroll", () => this.draw(), { capture: true, passive: true });
    new ResizeObserver(() => this.#fit()).observe(list.parentElement);
    list.addEventListener("keydown", (event) => this.#move(event));
    list.addEventListener("focusin", ({ target }) => {
      this.#current = Number(target.closest("li").dataset.place);
      this.draw();
    });
  }

  /** How many cells there are. All are filled again. */
  show(count) {
    this.#count = count;
    this.#current = Math.min(this.#current, Math.max(0, count - 1));
    this.#size();
    for (const [place, cell] of this.#cells) if (place < count) this.#fill(cell, place);
    this.draw();
  }

  /** Scroll as little as it takes to have a cell in view; it is the one that Tab leads to. */
  reveal(place) {
    const { columns, height } = this.#shape;
    const [top, bottom] = this.#view();
    const row = Math.floor(place / columns) * height;
    this.#list.parentElement.scrollTop += Math.min(0, row - top) + Math.max(0, row + height - bottom);
    this.#current = place;
    this.draw();
  }

  /** Put those cells into the list that are in view, and take out the others. */
  draw() {
    const { columns, height } = this.#shape;
    const [top, bottom] = this.#view();
    if (bottom <= top) return;
    const first = Math.max(0, Math.floor(top / height) * columns);
    const end = Math.min(this.#count, Math.ceil(bottom / height) * columns);
    if (!this.#list.contains(document.activeElement)) {
      this.#current = Math.max(first, Math.min(this.#current, end - 1));
    }
    this.#keep(Math.max(0, first - SPARE * columns), Math.min(this.#count, end + SPARE * columns));
    this.#seen(first, end);
  }

  #keep(first, end) {
    const key = [first, end, this.#current, this.#count].join(" ");
    if (key === this.#kept) return;
    this.#kept = key;
    const wanted = Array.from({ length: Math.max(0, end - first) }, (_, k) => first + k);
    if (this.#current < first) wanted.unshift(this.#current);
    if (this.#current >= end && this.#current < this.#count) wanted.push(this.#current);
    const kept = new Set(wanted);
    for (const [place, cell] of this.#cells) {
      if (kept.has(place)) continue;
      cell.remove();
      this.#cells.delete(place);
    }
    let before = this.#list.firstChild;
    for (const place of wanted) {
      const cell = this.#cells.get(place) ?? this.#made(place);
      if (cell === before) before = before.nextSibling;
      else this.#list.insertBefore(cell, before);
      cell.setAttribute("aria-setsize", this.#count);
      cell.querySelector("a").tabIndex = place === this.#current ? 0 : -1;
    }
  }

  #made(place) {
    const cell = document.createElement("li");
    cell.dataset.place = place;
    cell.setAttribute("aria-posinset", place + 1);
    this.#put(cell, place);
    this.#fill(cell, place);
    this.#cells.set(place, cell);
    return cell;
  }

  #put(cell, place) {
    const { columns } = this.#shape;
    cell.style.setProperty("--row", Math.floor(place / columns));
    cell.style.setProperty("--column", place % columns);
  }

  /** Where the box and the window look at, in pixels of the list. */
  #view() {
    const list = this.#list.getBoundingClientRect();
    const box = this.#list.parentElement.getBoundingClientRect();
    return [Math.max(box.top, 0) - list.top, Math.min(box.bottom, innerHeight) - list.top];
  }

  /** As many columns as there is room for. What stood on top stays there. */
  #fit() {
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const width = this.#list.clientWidth / rem;
    if (!width) return;
    const name = width < WIDE ? "narrow" : "wide";
    const columns = Math.max(1, Math.floor(width / CELLS[name].width));
    const height = CELLS[name].height * rem;
    if (columns === this.#shape.columns && height === this.#shape.height) return this.draw();
    const box = this.#list.parentElement;
    const top = Math.floor(box.scrollTop / this.#shape.height) * this.#shape.columns;
    this.#shape = { columns, height };
    this.#list.dataset.cells = name;
    this.#list.style.setProperty("--columns", columns);
    this.#list.style.setProperty("--cell", `${height}px`);
    for (const [place, cell] of this.#cells) this.#put(cell, place);
    this.#size();
    box.scrollTop = Math.floor(top / columns) * height;
    this.draw();
  }

  #size() {
    this.#list.style.height = `${Math.ceil(this.#count / this.#shape.columns) * this.#shape.height}px`;
  }

  #move(event) {
    const { columns, height } = this.#shape;
    const page = Math.max(1, Math.floor(this.#list.parentElement.clientHeight / height)) * columns;
    const steps = { ArrowDown: columns, ArrowUp: -columns, ArrowRight: 1, ArrowLeft: -1, PageDown: page, PageUp: -page };
    const ends = { Home: -Infinity, End: Infinity };
    const step = steps[event.key] ?? ends[event.key];
    if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.reveal(Math.max(0, Math.min(this.#current + step, this.#count - 1)));
    this.#cells.get(this.#current).querySelector("a").focus();
  }
}
