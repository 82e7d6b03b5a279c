// The job that draws further samples: start, follow, cancel. The panel is in draw.js.
import { info, json, place, request } from "./api.js";
import { refresh, signal, state, watch } from "./state.js";

const POLL = 1000; // ms between looks at a model that is being loaded

/** The job that runs: {id, case, source, state, done, total, begun}, `isLost` while the server is silent; or null. */
export const job = signal(null);

/** Why the latest request or job failed: {case, status, reason}, or null. */
export const fault = signal(null);

/** Follow a job that runs already, and wait for a model that is being loaded. */
export function mount() {
  const off = state.info.on(({ job: running }) => {
    off();
    if (running) follow(running);
    waitForModel();
  });
}

/** Draw so many further samples for the shown case. */
export async function start(count, region) {
  const { id, source } = state.description.value;
  fault.value = null;
  job.value = { id: null, case: id, source, state: "running", done: 0, total: 0, begun: performance.now() };
  try {
    const asked = { count, source, ...(region ? { region } : {}) };
    const { id: number } = await json(`${place(id)}/jobs`, { method: "POST", json: asked });
    follow({ id: number, case: id, source });
    state.said.value = `Drawing ${count} samples`;
  } catch (error) {
    job.value = null;
    fault.value = { case: id, status: error.status, reason: error.message };
  }
}

/** Cancel the job that runs; whether the server was told. */
export async function cancel() {
  const { id } = job.value;
  try {
    await request(`jobs/${id}`, { method: "DELETE" });
    return true;
  } catch (error) {
    fault.value = { case: job.value?.case, status: error.status, reason: error.message };
    return false;
  }
}

function follow(running) {
  const begun = performance.now();
  const events = new EventSource(`api/v1/jobs/${running.id}/events`);
  events.addEventListener("message", ({ data }) => {
    const told = JSON.parse(data);
    job.value = told.state === "running" ? { ...running, ...told, begun } : null;
    if (told.state === "running") return;
    events.close();
    settle(running, told);
  });
  events.addEventListener("error", () => {
    if (events.readyState !== EventSource.CLOSED) {
      job.value = { ...job.value, isLost: true }; // the browser asks again by itself
      return;
    }
    job.value = null;
    fault.value = { case: running.case, status: 0, reason: "the server knows no more of what was being drawn" };
  });
}

function settle(running, told) {
  if (told.state === "failed") fault.value = { case: running.case, status: 0, reason: told.reason };
  if (told.state === "finished") refresh();
  const said = { finished: "The samples have been drawn", cancelled: "Cancelled: nothing was added", failed: told.reason };
  state.said.value = said[told.state];
}

/** What a case needs is known when the model is there. */
async function waitForModel() {
  while (state.info.value.model.loading) {
    await new Promise((done) => setTimeout(done, POLL));
    const now = await info().catch(() => null);
    if (now && !now.model.loading) {
      state.info.value = now;
      refresh();
    }
  }
}
