// The server's answers as plain objects. Slices are kept for a while, the latest of them.
import { state } from "./state.js";
import { Kept } from "./kept.js";
import { unpacked } from "./bits.js";

const API = "api/v1/";
const images = new Kept(192 * 2 ** 20);
const masks = new Kept(128 * 2 ** 20);

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
export function image(id, k, axis, channel, source, priority = "high") {
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
