// The server's answers as plain objects. Slices are kept for a while, the latest of them, and read ahead.
import { state } from "./state.js";
import { planeOf } from "./view.js";

/** What was made is kept by key, the latest used of it, up to a number of bytes. Errors are not kept. */
class Cache {
  #most;
  #held = 0;
  #entries = new Map();

  constructor(bytes) {
    this.#most = bytes;
  }

  /** What is kept under a key, as a promise; `make` resolves to {value, bytes}. */
  get(key, make) {
    const entry = this.#entries.get(key) ?? this.#made(key, make);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.promise;
  }

  #made(key, make) {
    const entry = { bytes: 0 };
    entry.promise = make().then(
      ({ value, bytes }) => {
        if (this.#entries.get(key) === entry) this.#count(entry, bytes);
        return value;
      },
      (error) => {
        if (this.#entries.get(key) === entry) this.#entries.delete(key);
        throw error;
      },
    );
    return entry;
  }

  #count(entry, bytes) {
    entry.bytes = bytes;
    this.#held += bytes;
    for (const [key, old] of this.#entries) {
      if (this.#held <= this.#most) return;
      if (old === entry || !old.bytes) continue;
      this.#entries.delete(key);
      this.#held -= old.bytes;
    }
  }
}

const API = "api/v1/";
const images = new Cache(192 * 2 ** 20);
const masks = new Cache(128 * 2 ** 20);

/** What the server says when it refuses; status 0 where it does not answer. */
export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.name = "ApiError";
    this.status = status;
    this.detail = detail;
  }
}

/** A Response that is fine. Throws ApiError. `json` in options is sent as the body. */
export async function request(path, { json, ...options } = {}) {
  if (json !== undefined) {
    Object.assign(options, { body: JSON.stringify(json), headers: { "Content-Type": "application/json" } });
  }
  let response;
  try {
    response = await fetch(API + path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the server does not answer; is plurimask view still running?");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  throw new ApiError(response.status, problem.detail ?? `the server answered ${response.status}`);
}

/** The JSON of an answer. Throws ApiError. */
export async function json(path, options) {
  return (await request(path, options)).json();
}

/** What is served: version, title, sources, model, formats. */
export const info = () => json("info");

/** A page of cases; query: {source, sort, order, offset, limit}. */
export const cases = (query = {}) => json(`cases${asQuery(query)}`);

/** All of a case but its pixels. */
export const theCase = (id, source) => json(`${place(id)}${asQuery({ source })}`);

/** The values of an evaluation of a case, or the reason why there are none. */
export const scores = (id, source) => json(`${place(id)}/scores${asQuery({ source })}`);

/** The address below api/v1 of a case. */
export const place = (id) => `cases/${encodeURIComponent(id)}`;

/**
 * A slice: {rows, columns, raw: Int16Array, scale, offset}; a value is raw * scale + offset. `priority` is that of fetch:
 * "low" for what is read ahead.
 */
function image(id, k, axis, channel, source, priority = "high") {
  return images.get(`${id} ${axis} ${k} ${channel}`, async () => {
    const response = await request(`${place(id)}/image/${k}${asQuery({ axis, channel, source })}`, { priority });
    const [rows, columns] = numbers(response, "X-Shape");
    const [scale] = numbers(response, "X-Scale");
    const [offset] = numbers(response, "X-Offset");
    const raw = new Int16Array(await response.arrayBuffer());
    return { value: { rows, columns, raw, scale, offset }, bytes: raw.byteLength };
  });
}

/**
 * Masks on a slice: {count, box: [r0, r1, c0, c1], masks: [Uint8Array of h * w, ...], bit(s, r, c)}; r and c are those of
 * the slice. `kind` is "samples" or "readers"; the box is of no size where nothing is marked.
 */
export function marks(id, kind, k, axis, source, priority = "high") {
  const version = kind === "samples" ? state.revision.value : 0;
  return masks.get(`${id} ${kind} ${axis} ${k} ${source} ${version}`, async () => {
    const response = await request(`${place(id)}/${kind}/${k}${asQuery({ axis, source })}`, { priority });
    const [count] = numbers(response, "X-Count");
    const value = unpacked(new Uint8Array(await response.arrayBuffer()), count, numbers(response, "X-Box"));
    return { value, bytes: value.masks.reduce((sum, one) => sum + one.length, 64) };
  });
}

function asQuery(query) {
  const known = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return known.length ? `?${new URLSearchParams(known)}` : "";
}

function numbers(response, header) {
  return response.headers.get(header).split(",").map(Number);
}

const [AHEAD, AROUND] = [6, 2]; // slices in the direction that one goes, and to either side where there is none

/** {id, axis, k, rows, columns, image, samples, readers} of a slice; image is null where there is none. */
export async function readSlice(description, axis, k, channel, priority = "high") {
  const { id, source } = description;
  const { rows, columns } = planeOf(description, axis);
  const read = (kind) =>
    description.slices_marked[axis].includes(k)
      ? marks(id, kind, k, axis, source, priority)
      : unpacked(new Uint8Array(0), description[kind], [0, 0, 0, 0]);
  const [picture, samples, readers] = await Promise.all([
    description.has_image ? image(id, k, axis, channel, source, priority) : null,
    read("samples"),
    description.readers ? read("readers") : null,
  ]);
  return { id, axis, k, rows, columns, image: picture, samples, readers };
}

/** Read slices that may be next; `direction` is 1, -1 or 0. What goes wrong is said when they are shown. */
export function readAhead(description, axis, k, channel, direction) {
  const steps = Array.from({ length: direction ? AHEAD : AROUND }, (_, index) => index + 1);
  for (const next of steps.flatMap((step) => (direction ? [k + step * direction] : [k + step, k - step]))) {
    if (next >= 0 && next < description.shape[axis]) readSlice(description, axis, next, channel, "low").catch(() => {});
  }
}

/**
 * Masks of a slice from bits as `packed` in masks.js has them. box: [r0, r1, c0, c1]; no bits at all where nothing is marked.
 * Each of `masks` is a Uint8Array of 0 and 1, the rows of the box one after the other.
 */
function unpacked(bytes, count, box) {
  const [r0, , c0] = box;
  const [r1, c1] = bytes.length ? [box[1], box[3]] : [r0, c0];
  const width = c1 - c0;
  const area = (r1 - r0) * width;
  const all = new Uint8Array(Math.ceil((count * area) / 8) * 8);
  for (let i = 0, place = 0; place < all.length; i += 1, place += 8) {
    const byte = bytes[i];
    if (!byte) continue;
    for (let bit = 0; bit < 8; bit += 1) all[place + bit] = (byte >> (7 - bit)) & 1;
  }
  const masks = Array.from({ length: count }, (_, s) => all.subarray(s * area, (s + 1) * area));
  const bit = (s, r, c) => (r < r0 || r >= r1 || c < c0 || c >= c1 ? 0 : masks[s][(r - r0) * width + c - c0]);
  return { count, box: [r0, r1, c0, c1], masks, bit };
}
