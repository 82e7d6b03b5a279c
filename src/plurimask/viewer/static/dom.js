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
