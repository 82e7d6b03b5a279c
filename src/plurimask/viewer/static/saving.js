// Saving what is on screen: who, what they say of it, in which format; and what was saved before.
import { json, place } from "./api.js";
import { saved as isSaved } from "./correcting.js";
import { button, capital, choice, make, sizeWords } from "./dom.js";
import { bind } from "./input.js";
import { measured, nameOf, shown, sizeOf, take } from "./masks.js";
import { recall, remember, signal, state, watch } from "./state.js";

const FORMATS = { nifti: "NIfTI", "dicom-seg": "DICOM SEG" };
const [LONGEST_NAME, LONGEST_NOTE] = [64, 2000];
const writes = signal(0);
let dialog;

export function mount(element) {
  dialog = make("dialog", { className: "saving", aria: { labelledby: "saving-title" } });
  document.body.append(dialog);
  const open = button("Save …", "Save what is on screen", openDialog);
  open.className = "main";
  element.append(open, earlier());
  watch([state.description, state.mode, state.sample, state.level, state.edit], () => {
    open.disabled = !chosen();
  });
  watch([state.caseId], () => dialog.close());
  bind("Correct", [{ keys: ["s"], does: "save what is on screen", run: openDialog }]);
}

/** What is on screen: {id, name, size, source, origin, mask()}, or null. */
function chosen() {
  const [description, edit, choice] = [state.description.value, state.edit.value, shown()];
  if (!description) return null;
  if (edit) return corrected(edit, description);
  if (!choice) return null;
  const { id, source, samples } = description;
  return {
    id,
    name: choice.kind === "nothing" ? "an empty mask" : nameOf(choice, samples),
    size: sizeOf(choice, description),
    source,
    origin: choice.kind === "nothing" ? { kind: "edited" } : choice,
    mask: () => take(choice, description),
  };
}

function corrected({ mask, choice, name, id, source, undo }, description) {
  const isAsItWas = !undo.isChanged && choice.kind !== "nothing";
  return {
    id,
    name: isAsItWas ? name : `${name}, corrected`,
    size: sizeWords(measured(mask.count, description), description.unit),
    source,
    origin: isAsItWas ? choice : { ...choice, kind: "edited" },
    mask: async () => mask,
  };
}

function openDialog() {
  const what = chosen();
  if (!what) return;
  dialog.replaceChildren(form(what));
  dialog.showModal();
}

function form(what) {
  const author = make("input", { type: "text", required: true, maxLength: LONGEST_NAME, autocomplete: "name" });
  const note = make("textarea", { maxLength: LONGEST_NOTE, rows: 3 });
  const fault = make("p", { className: "fault", role: "alert", hidden: true });
  const save = make("button", { type: "submit", className: "main" }, "Save");
  const { formats } = state.description.value;
  let format = formats.at(-1);
  const { archive } = state.info.value;
  const stores = make("input", { type: "checkbox" });
  const store = make("label", { className: "check", hidden: !archive }, stores, `Store it in ${archive}, too`);
  const kinds = make("fieldset", { className: "segments" });
  const options = formats.map((value) => ({ value, label: FORMATS[value] }));
  choice(kinds, "format", "Format", options, format, (value) => {
    format = value;
    store.hidden = !archive || format !== "dicom-seg";
  });
  author.value = recall("author") ?? "";
  const element = make(
    "form",
    {},
    make("h2", { id: "saving-title" }, "Save"),
    make("p", { className: "what" }, `${capital(what.name)}: ${what.size}`),
    make("label", {}, "Saved by", author),
    make("label", {}, "Note", note),
    make("div", { className: "check" }, make("span", {}, "Format"), kinds),
    store,
    fault,
    make("div", { className: "row" }, save, button("Cancel", "Cancel", () => dialog.close())),
  );
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    save.disabled = true;
    try {
      const asked = { author: author.value, note: note.value, format, store: stores.checked && !store.hidden };
      const done = await send(what, asked);
      remember("author", author.value);
      if (element.isConnected) dialog.replaceChildren(receipt(done));
    } catch (error) {
      if (!element.isConnected || !dialog.open) state.error.value = error.message;
      Object.assign(fault, { textContent: error.message, hidden: false });
      save.disabled = false;
    }
  });
  return element;
}

async function send({ id, source, origin, mask }, said) {
  const edit = state.edit.value;
  const bits = (await mask()).sent();
  const done = await json(`${place(id)}/saved`, { method: "POST", json: { ...said, source, origin, ...bits } });
  if (edit && state.edit.value === edit) isSaved(); // strokes since then are another edit
  writes.value += 1;
  return done;
}

function receipt({ path, digest, stored }) {
  const archived = stored ? [make("dt", {}, "archive"), make("dd", {}, stored)] : [];
  return make(
    "div",
    { className: "receipt", role: "status" },
    make("h2", { id: "saving-title" }, "Saved"),
    make("dl", {}, make("dt", {}, "file"), make("dd", {}, path), make("dt", {}, "sha256"), make("dd", {}, digest), ...archived),
    make("div", { className: "row" }, button("Close", "Close", () => dialog.close())),
  );
}

/** What was saved of the case before, the latest first. */
function earlier() {
  const summary = make("summary");
  const list = make("ol");
  const element = make("details", { className: "earlier", hidden: true }, summary, list);
  watch([state.description, writes], async () => {
    const id = state.description.value?.id;
    const found = id ? await json(`${place(id)}/saved`).catch((error) => error) : [];
    if (id !== state.description.value?.id) return;
    const [records, fault] = found instanceof Error ? [[], found.message] : [found, null];
    element.hidden = !records.length && !fault;
    summary.textContent = fault ? `What was saved before cannot be read: ${fault}` : `Saved before (${records.length})`;
    list.replaceChildren(...records.reverse().map(line));
  });
  return element;
}

function line({ path, file, author, note, when, origin }) {
  const day = new Date(when).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  const number = path.split(/[\\/]/).at(-1);
  const words = [`${number} · ${told(origin)}`, make("br"), make("span", { className: "quiet" }, `${author}, ${day}`)];
  return make("li", { title: `${path}/${file}` }, ...words, ...(note ? [make("br"), make("q", {}, note)] : []));
}

function told({ kind, sample, level }) {
  const from = sample !== undefined ? `sample ${sample + 1}` : level !== undefined ? `at least ${level} samples` : "nothing";
  return kind === "edited" ? `from ${from}, corrected` : from;
}
