// One table of keys. Parts add theirs with `bind`; the dialog of help lists them all.
import { make } from "./dom.js";
import { recall, remember } from "./memory.js";
import { state } from "./state.js";

const TABLE = []; // {section, keys, does, run}
const ANYWHERE = "Page"; // keys of other sections work beside an image alone
const LABELS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", PageUp: "Page ↑", PageDown: "Page ↓" };
const held = new Set();
let dialog;

/** Add keys: [{keys: ["+", "Shift+ArrowUp", "Ctrl+z"], does: "zoom in", run(event)}]; ones without `run` are told only. */
export function bind(section, entries) {
  TABLE.push(...entries.map((entry) => ({ section, ...entry })));
}

/** Whether a letter is held down. */
export const isHeld = (letter) => held.has(letter);

export function openHelp() {
  dialog.replaceChildren(...contents());
  dialog.showModal();
}

/** Listen, from now on. */
export function mount() {
  dialog = make("dialog", { className: "help", aria: { labelledby: "help-title" } });
  document.body.append(dialog);
  addEventListener("keydown", pressed);
  addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()));
  addEventListener("blur", () => held.clear());
  bind("Page", [{ keys: ["?"], does: "this list", run: openHelp }]);
}

function pressed(event) {
  if (event.defaultPrevented || document.querySelector("dialog[open]") || isTyping(event.target, event)) return;
  held.add(event.key.toLowerCase());
  const name = nameOf(event);
  if (name.length === 1 && recall("keys") === "off" && !event.target.closest(".stage")) return;
  const entry = TABLE.find((one) => one.run && one.keys.includes(name));
  if (!entry || (entry.section !== ANYWHERE && state.page.value !== "case")) return;
  event.preventDefault();
  entry.run(event);
}

/** Whether a key belongs to what has the focus: text, sliders, choices, buttons. */
function isTyping(target, { key }) {
  if (target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])")) return true;
  if (target.matches("input, #cases *") && /^(Arrow|Page|Home|End)/.test(key)) return true;
  return target.matches("button, a, summary, input") && /^(Enter| )$/.test(key);
}

/** As the table writes it: modifiers first; Shift where it does not make another sign; letters small. */
function nameOf(event) {
  const letter = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const shifted = event.shiftKey && (event.key.length > 1 || letter !== letter.toUpperCase());
  return [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", shifted && "Shift", letter].filter(Boolean).join("+");
}

function contents() {
  const sections = [...new Set(TABLE.map((entry) => entry.section))];
  const shortcuts = make("input", { type: "checkbox", checked: recall("keys") !== "off" });
  shortcuts.addEventListener("change", () => remember("keys", shortcuts.checked ? "on" : "off"));
  const close = make("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  return [
    make("header", {}, make("h2", { id: "help-title" }, "Keys and pointer"), close),
    make("div", { className: "sections" }, ...sections.map(listed)),
    make("label", {}, shortcuts, " keys of a single letter or sign work anywhere, not on the image alone"),
    make("p", {}, make("a", { href: "api.html" }, "The HTTP interface of this server")),
  ];
}

function listed(section) {
  const entries = TABLE.filter((entry) => entry.section === section);
  const rows = entries.flatMap(({ keys, does }) => [
    make("dt", {}, ...keys.flatMap((key, place) => [...(place ? [" "] : []), make("kbd", {}, shown(key))])),
    make("dd", {}, does),
  ]);
  return make("section", {}, make("h3", {}, section), make("dl", {}, ...rows));
}

const shown = (key) =>
  key.replace(/[^+]+$/, (last) => LABELS[last] ?? (last.length === 1 ? last.toUpperCase() : last)) || key;
