// The table of scores of the case, and what each of them means.
import * as api from "./api.js";
import { make, score } from "./dom.js";
import { sourceLabel, state, watch } from "./state.js";

const PAUSE = 400; // ms that a case is looked at before its scores are worked out, so that the image comes first
const ARROWS = { lower: "↓", higher: "↑" };
let asked = 0;
let timer = 0;
let isWhole = false;

export function mount(element) {
  const { description, otherDescription, other } = state;
  watch([description, otherDescription, other], () => {
    clearTimeout(timer);
    asked += 1;
    const shown = [description.value, other.value && otherDescription.value].filter(Boolean);
    if (description.value) timer = setTimeout(() => fill(element, shown, asked), PAUSE);
    else element.replaceChildren();
  });
}

/** The table as it was stays until the next one is there. */
async function fill(element, shown, mine) {
  const put = (...parts) => mine === asked && element.replaceChildren(...parts);
  if (!element.firstChild) put(line("Working out …"));
  try {
    const answers = await Promise.all(shown.map(({ id, source }) => api.scores(id, source)));
    put(...answers.flatMap(({ reason }, place) => (reason ? [line(`No scores${of(shown, place)}: ${reason}.`)] : [])));
    if (mine === asked && answers.some(({ values }) => values.length)) element.append(...table(shown, answers));
  } catch (error) {
    put(line(error.message));
  }
}

const line = (words) => make("p", { className: "quiet small" }, words);
const of = (shown, place) => (shown.length > 1 ? ` of ${sourceLabel(shown[place].source)}` : "");

function table(shown, answers) {
  const columns = answers.map(({ values }) => new Map(values.map((one) => [one.key, one])));
  const kinds = answers.find(({ values }) => values.length).values;
  const heads = shown.map((one) => make("th", { scope: "col", className: "number" }, shown.length > 1 ? sourceLabel(one.source) : "value"));
  const head = make("thead", { className: shown.length > 1 ? "" : "unseen" }, make("tr", {}, make("th", { scope: "col" }, "score"), ...heads));
  const valuesOf = ({ key }) => columns.map((column) => column.get(key)?.value ?? null);
  const isFair = new Set(shown.map(({ samples }) => samples)).size === 1;
  const bodies = kinds.map((kind) => rows(kind, valuesOf(kind), isFair));
  const whole = make("table", { className: "scores" }, head, ...bodies);
  const more = make("button", { type: "button", className: "scores-more" });
  const show = () => {
    more.textContent = isWhole ? "Fewer scores" : `All ${kinds.length} scores`;
    more.ariaExpanded = String(isWhole);
    bodies.forEach((body, place) => (body.hidden = !isWhole && !kinds[place].headline));
  };
  more.addEventListener("click", () => {
    isWhole = !isWhole;
    show();
  });
  show();
  return [whole, more];
}

/** A score and, when its name is pressed, how it is counted. The better value is marked where the comparison is fair. */
function rows({ key, label, convention, better, unit }, values, isFair) {
  const note = make("tr", { id: `score-${key}`, className: "scores-note", hidden: true });
  note.append(make("td", { colSpan: values.length + 1 }, better ? `${convention}; ${better} is better` : convention));
  const name = make("button", { type: "button", title: convention, ariaExpanded: "false", aria: { controls: note.id } });
  name.append(symbol(label), ...(unit ? [make("span", { className: "quiet" }, ` ${unit}`)] : []));
  if (better) name.append(" ", make("span", { className: "better", role: "img", ariaLabel: `${better} is better` }, ARROWS[better]));
  name.addEventListener("click", () => {
    note.hidden = !note.hidden;
    name.ariaExpanded = String(!note.hidden);
  });
  const best = isFair ? bestOf(values, better) : undefined;
  const cells = values.map((value) => make("td", { className: value === best ? "number best" : "number" }, score(value)));
  return make("tbody", {}, make("tr", {}, make("th", { scope: "row" }, name), ...cells), note);
}

/** The better one of several values that differ in what is written. */
function bestOf(values, better) {
  const known = values.filter((value) => value !== null);
  if (!better || new Set(known.map(score)).size < 2) return undefined;
  return better === "lower" ? Math.min(...known) : Math.max(...known);
}

/** D_max with its index set below the line. */
function symbol(label) {
  const [stem, index] = label.split("_");
  return make("span", {}, stem, ...(index ? [make("sub", {}, index)] : []));
}
