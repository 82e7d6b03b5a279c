// Starts the page: which case is shown follows the address, and each part builds itself in its place.
import * as api from "./api.js";
import { step, mount as cases } from "./cases.js";
import { mountAgreement, mountSizes } from "./charts.js";
import { mount as draw } from "./draw.js";
import { mount as edit } from "./edit.js";
import { mount as film } from "./film.js";
import { mount as header } from "./header.js";
import { bind, mount as listenToKeys } from "./input.js";
import { mount as layers } from "./layers.js";
import { representative } from "./masks.js";
import { mount as saving } from "./saving.js";
import { mount as scores } from "./scores.js";
import { mount as stages } from "./stages.js";
import { listAddress, state, watch } from "./state.js";

// Each part builds itself in the element of its id.
const PARTS = { header, stages, layers, cases, film, agreement: mountAgreement, sizes: mountSizes, scores, draw, edit, saving };
let begun = null; // the case that slice, window and view are of

const served = api.info(); // asked for at once, while the parts are being built
listenToKeys();
bind("Page", [
  { keys: ["n"], does: "next case", run: () => step(1) },
  { keys: ["p"], does: "previous case", run: () => step(-1) },
]);
for (const [id, mount] of Object.entries(PARTS)) mount(document.getElementById(id));
showLine("error", state.error);
showLine("said", state.said);
watch([state.page], () => {
  document.body.dataset.page = state.page.value;
});
watch([state.caseId, state.source, state.revision], () => read(state.description, state.source));
watch([state.caseId, state.other, state.revision], () => read(state.otherDescription, state.other));
watch([state.info, state.description, state.page], () => {
  const name = state.page.value === "case" ? state.description.value?.name : null;
  document.title = [name, state.info.value?.title, "plurimask"].filter(Boolean).join(" · ");
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address says which case is shown
  document.getElementById("main").focus();
});
await start();

async function start() {
  try {
    state.info.value = await served;
    addEventListener("hashchange", follow);
    follow();
  } catch (error) {
    state.error.value = error.message;
  }
}

/** Show what the address says: #/ or #/case/ID?source=S&with=S2. */
function follow() {
  const [path, query] = location.hash.slice(1).split("?");
  const asked = new URLSearchParams(query);
  const sources = state.info.value.sources.map((one) => one.id);
  const id = /^\/case\/([\w-]+)$/.exec(path)?.[1] ?? null;
  if (!id && path !== "/" && path !== "") return location.replace(listAddress(sources[0]));
  state.error.value = null;
  state.source.value = sources.includes(asked.get("source")) ? asked.get("source") : sources[0];
  state.other.value = id && sources.includes(asked.get("with")) ? asked.get("with") : null;
  state.caseId.value = id;
  state.page.value = id ? "case" : "list";
}

/** Put the description of the shown case into a signal. What is on screen stays where the case is the same. */
async function read(target, wanted) {
  const [id, source] = [state.caseId.value, wanted.value];
  if (target.value?.id !== id || !source) target.value = null;
  if (!id || !source) return;
  const asked = () => [state.caseId.value, wanted.value, state.revision.value].join(" ");
  const mine = asked();
  try {
    const description = { ...(await api.theCase(id, source)), id, source };
    if (mine !== asked()) return;
    if (target === state.description) begin(description);
    target.value = description;
  } catch (error) {
    if (mine !== asked()) return;
    if (target.value?.source !== source) target.value = null;
    state.error.value = error.message;
  }
}

/** A case begins anew; another source of it, or more samples, leave what can be left as it is. */
function begin(description) {
  const isNew = begun !== description.id;
  begun = description.id;
  if (isNew) {
    const flat = description.shape[2] === 1;
    state.axis.value = flat ? 2 : state.axis.value;
    state.slice.value = description.start_slice[state.axis.value];
    state.channel.value = 0;
    state.window.value = description.windows[0];
    state.view.value = null;
    state.pointer.value = null;
    state.tool.value = null;
  }
  if (isNew || state.description.value?.source !== description.source) {
    state.sample.value = state.mode.value === "sample" ? representative(description) : null;
  }
  if (isNew || state.level.value > description.samples) {
    state.level.value = Math.max(1, Math.ceil(description.samples / 2));
  }
}

function showLine(id, line) {
  const element = document.getElementById(id);
  watch([line], () => {
    element.textContent = line.value ?? "";
    if (id === "error") element.hidden = !line.value;
  });
}
