// Elements in one expression. Text is text: nothing that comes from a file is ever markup.

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
