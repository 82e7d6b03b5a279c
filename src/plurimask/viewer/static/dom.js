// What the page is written with: elements in one expression, and numbers as words. Text is text: nothing that comes
// from a file is ever markup.

/** An element with properties (`data` and `aria` as objects) and children, strings among them as text. */
export function make(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  Object.assign(element.dataset, data);
  for (const [key, value] of Object.entries(aria)) element.setAttribute(`aria-${key}`, value);
  element.append(...children);
  return element;
}

/** A button with what is written on it, and its name where that says more. */
export function button(text, name, run) {
  const element = make("button", { type: "button", title: name }, text);
  element.setAttribute("aria-label", name);
  element.addEventListener("click", run);
  return element;
}

/** Fill a fieldset with radio buttons: [{value, label, title}], of which one is chosen; pick(value) at a choice. */
export function choice(fieldset, name, legend, options, chosen, pick) {
  const had = fieldset.contains(document.activeElement);
  const inputs = options.map(({ value }) => make("input", { type: "radio", name, value, checked: value === chosen }));
  const labels = options.map(({ label, title = "" }, place) => make("label", { title }, inputs[place], make("span", {}, label)));
  for (const input of inputs) input.addEventListener("change", () => pick(input.value));
  fieldset.replaceChildren(make("legend", { className: "unseen" }, legend), ...labels);
  if (had) inputs.find((one) => one.checked)?.focus();
}

/** An SVG element with attributes and children, strings among them as text. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** A size: three digits, or all of them before the point; as the server writes it in the names of groups. */
export function size(value) {
  return value < 1000 ? String(Number(value.toPrecision(3))) : value.toFixed(0);
}

/** A score to three places, with a true minus; a dash where it is undefined. */
export function score(value) {
  if (value === null) return "–";
  const text = value.toFixed(3).replace("-", "−");
  return text === "−0.000" ? "0.000" : text;
}

/** How many: "1 case", "12,000 cases". */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** "4 mm" after "4": sizes have a unit, and an empty mask says so. */
export function sizeWords(value, unit) {
  return value > 0 ? `${size(value)} ${unit}` : "nothing";
}

/** With a capital at its head. */
export const capital = (words) => words[0].toUpperCase() + words.slice(1);
