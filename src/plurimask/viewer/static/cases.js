// The list of cases: the whole page, or a narrow column beside a case. One list for both.
import { make } from "./dom.js";
import { Grid } from "./grid.js";
import { Listing } from "./listing.js";
import { showLater } from "./pictures.js";
import { caseAddress, select, state, watch } from "./state.js";
import { count, score, sizeWords } from "./words.js";

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
  name.textContent = item?.name ?? "…";
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
