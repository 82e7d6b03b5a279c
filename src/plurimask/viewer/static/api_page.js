// The HTTP interface, from the description that the server gives of it, for people to read.
import { make } from "./dom.js";
import { recall } from "./memory.js";

const DESCRIPTION = "api/v1/openapi.json";
const METHODS = ["get", "post", "put", "delete"];
const UNBOUNDED = 2 ** 31; // of numbers that have no other limit
const WORDS = { integer: "whole number", number: "number", string: "text", boolean: "true or false", object: "object" };
const element = (id) => document.getElementById(id);

function show({ info, paths, components = {} }) {
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({ path, method, ...item[method] })),
  );
  element("facts").replaceChildren(
    `${info.title} ${info.version} · ${operations.length} addresses · `,
    make("a", { href: DESCRIPTION }, "as OpenAPI"),
  );
  element("intro").replaceChildren(...paragraphs(info.description));
  element("list").replaceChildren(...operations.map(entry));
  element("operations").replaceChildren(...operations.map(operation));
  const bodies = Object.entries(components.schemas ?? {});
  element("bodies").replaceChildren(make("h2", {}, "Bodies"), ...bodies.map(([name, schema]) => body(name, schema)));
}

const badge = (method) => make("span", { className: `method ${method}` }, method.toUpperCase());

function entry({ path, method, operationId }) {
  return make("li", {}, badge(method), make("a", { href: `#${operationId}` }, make("code", {}, path)));
}

function operation({ path, method, operationId, description, parameters = [], requestBody, responses }) {
  const asked = Object.values(requestBody?.content ?? {}).map(({ schema }) => make("p", {}, "Takes ", ...type(schema), "."));
  return make(
    "section",
    { id: operationId },
    make("h3", {}, badge(method), path),
    ...paragraphs(description),
    ...(parameters.length ? [table(`Parameters of ${path}`, parameters.map(parameter))] : []),
    ...asked,
    make("ul", { className: "small" }, ...Object.entries(responses).map(response)),
  );
}

const parameter = ({ name, in: place, required, schema, description }) => ({
  name,
  where: place + (required ? "" : ", optional"),
  kind: type(schema),
  meaning: description ?? "",
  initial: schema.default,
});

function response([status, { description, content = {} }]) {
  const kinds = Object.keys(content).join(", ");
  return make("li", {}, make("b", {}, status), `: ${description}`, ...(kinds ? [", ", make("code", {}, kinds)] : []));
}

function body(name, schema) {
  const { text, meanings } = explained(schema.description);
  const required = new Set(schema.required);
  const fields = Object.entries(schema.properties ?? {}).map(([field, one]) => ({
    name: field,
    where: required.has(field) ? "required" : "optional",
    kind: type(one),
    meaning: one.description ?? meanings[field] ?? "",
    initial: one.default,
  }));
  return make("section", { id: `body-${name}` }, make("h3", {}, name), ...paragraphs(text), table(`Fields of ${name}`, fields));
}

/** What a body is, and by name what its fields mean: lines of "name: meaning" below "Args:". */
function explained(description = "") {
  const [text, lines = ""] = description.split(/^\s*Args:\s*$/m);
  const meanings = Object.fromEntries([...lines.matchAll(/^\s*(\w+): (.+)$/gm)].map(([, name, meaning]) => [name, meaning]));
  return { text, meanings };
}

function table(name, rows) {
  const heads = ["name", "given", "kind", "meaning"].map((head) => make("th", { scope: "col" }, head));
  const lines = rows.map(({ name, where, kind, meaning, initial }) => {
    const unless = initial === undefined || initial === "" ? [] : [" Unless given: ", make("code", {}, String(initial)), "."];
    const cells = [make("td", { className: "quiet" }, where), make("td", {}, ...kind), make("td", {}, ...inline(meaning), ...unless)];
    return make("tr", {}, make("th", { scope: "row" }, make("code", {}, name)), ...cells);
  });
  const head = make("thead", {}, make("tr", {}, ...heads));
  const whole = make("table", { ariaLabel: name }, head, make("tbody", {}, ...lines));
  return make("div", { className: "scroll", tabIndex: 0, role: "group", ariaLabel: name }, whole);
}

/** A kind of value in words, as nodes. */
function type(schema) {
  if (schema.$ref) return [reference(schema.$ref)];
  const several = schema.anyOf ?? schema.oneOf;
  if (several) return joined(several.filter((one) => one.type !== "null").map(type), " or ");
  if (schema.enum) return joined(schema.enum.map(quoted), ", ");
  if ("const" in schema) return quoted(schema.const);
  if (schema.type === "array") return [`list${exactly(schema)} of `, ...type(schema.items ?? {})];
  if (schema.type === "object" && schema.additionalProperties?.type) return ["object of ", ...type(schema.additionalProperties)];
  return [(WORDS[schema.type] ?? "any value") + limits(schema)];
}

function reference(path) {
  const name = path.split("/").at(-1);
  return make("a", { href: `#body-${name}` }, name);
}

const quoted = (value) => [make("code", {}, String(value))];
const exactly = ({ minItems, maxItems }) => (minItems !== undefined && minItems === maxItems ? ` of ${minItems}, each` : "");
const joined = (parts, between) => parts.flatMap((part, place) => (place ? [between, ...part] : part));

function limits({ minimum, maximum, exclusiveMaximum = UNBOUNDED, maxLength }) {
  const high = maximum ?? (exclusiveMaximum < UNBOUNDED ? exclusiveMaximum - 1 : undefined);
  if (minimum !== undefined && high !== undefined) return `, ${minimum} to ${high}`;
  if (minimum !== undefined) return `, ${minimum} or more`;
  return maxLength === undefined ? "" : `, ${maxLength} characters at most`;
}

const paragraphs = (text = "") => text.split(/\n\s*\n/).filter((one) => one.trim()).map((one) => make("p", {}, ...inline(one)));

/** Text in which `this` is code. */
const inline = (text) => text.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));

document.documentElement.dataset.theme = recall("theme") ?? "system";
try {
  const answer = await fetch(DESCRIPTION);
  if (!answer.ok) throw new Error(`${DESCRIPTION} answers ${answer.status}`);
  show(await answer.json());
} catch (error) {
  element("facts").textContent = `The description cannot be read: ${error.message}`;
}
