// Hostile input, generated from an operation's own schemas: as large as a body may be, and wrong in every way that a schema can be missed.
// Not here: the expected results (hostile-input.test.ts).
import { MAX_BODY_BYTES } from "@berth/api/limits";
import type { Operation } from "@berth/api/operation";
import type { TSchema } from "typebox";

/** A schema, as this walks it. */
interface Shape {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly TSchema[];
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly items?: TSchema;
  readonly minLength?: number;
  readonly minItems?: number;
  readonly minimum?: number;
  readonly format?: string;
  readonly pattern?: string;
}

const shapeOf = (schema: TSchema): Shape => schema;

/** A text that fits a pattern. One that nothing here fits needs one more. */
function validText(pattern: string, minLength: number): string {
  const length = Math.max(1, minLength);
  const texts = ["a".repeat(length), "1".repeat(length), "*", "a.a", "0".repeat(36), `sha256:${"0".repeat(64)}`];
  const text = texts.find((each) => each.length >= minLength && new RegExp(pattern, "u").test(each));
  if (text === undefined) throw new Error(`no text is known that fits ${pattern}`);
  return text;
}

/** A value that the schema accepts. */
export function validValue(schema: TSchema): unknown {
  const { type, enum: values, anyOf, properties = {}, items, format, pattern = "", minLength = 1, minimum = 0 } = shapeOf(schema);
  if (values !== undefined) return values[0];
  if (anyOf !== undefined) return validValue(anyOf[0]!);
  switch (type) {
    case "object":
      return Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, validValue(each)]));
    case "array":
      return [validValue(items!)];
    case "string":
      return format === "date-time" ? "2999-01-31T12:00:00Z" : validText(pattern, minLength);
    case "integer":
      return minimum;
    case "boolean":
      return false;
    default:
      return null;
  }
}

/** Each place of a valid value: its schema, and the whole text around its value. */
interface Place {
  readonly at: string;
  readonly schema: TSchema;
  around(text: string): string;
}

function placesIn(schema: TSchema, at: string, around: (text: string) => string): Place[] {
  const { properties, items, anyOf } = shapeOf(schema);
  const own: Place = { at, schema, around };
  if (anyOf !== undefined) return [own, ...placesIn(anyOf[0]!, at, around).slice(1)];
  if (items !== undefined) return [own, ...placesIn(items, `${at}.0`, (text) => around(`[${text}]`))];
  if (properties === undefined) return [own];
  return [
    own,
    ...Object.entries(properties).flatMap(([name, each]) => {
      const others = Object.entries(properties).filter(([other]) => other !== name);
      const rest = others.map(([other, schemaOf]) => `,${JSON.stringify(other)}:${JSON.stringify(validValue(schemaOf))}`).join("");
      return placesIn(each, `${at}.${name}`, (text) => around(`{${JSON.stringify(name)}:${text}${rest}}`));
    }),
  ];
}

/** The places of an operation's body; one place, the whole, where it has none. */
export function placesOf(operation: Operation): Place[] {
  return operation.body === undefined
    ? [{ at: "body", schema: operation.params, around: (text) => text }]
    : placesIn(operation.body, "body", (text) => text);
}

/** A value of as many pieces as fit. */
export function filled(open: string, piece: (index: number) => string, close: string, size: number): string {
  const parts: string[] = [];
  let length = open.length + close.length;
  for (let index = 0; ; index++) {
    const text = `${index === 0 ? "" : ","}${piece(index)}`;
    if (length + text.length > size) break;
    parts.push(text);
    length += text.length;
  }
  return open + parts.join("") + close;
}

/** As many nested ones as fit. */
export function nested(open: string, middle: string, close: string, size: number): string {
  const times = Math.floor((size - middle.length) / (open.length + close.length));
  return open.repeat(times) + middle + close.repeat(times);
}

/** The worst values of about `size` bytes, by name; the schema is that of their place. */
function worstValues(schema: TSchema, size: number): Record<string, string> {
  const { properties, items, enum: values } = shapeOf(schema);
  const name = Object.keys(properties ?? { name: 0 })[0] ?? "name";
  const item = items === undefined ? "{}" : JSON.stringify(validValue(items));
  return {
    "lists in each other": nested("[", "", "]", size),
    "objects in each other": nested('{"a":', "0", "}", size),
    "both in each other": nested('[{"a":', "0", "}]", size),
    zeros: filled("[", () => "0", "]", size),
    "empty objects": filled("[", () => "{}", "]", size),
    "right items, too many": filled("[", () => item, "]", size),
    "different texts": filled("[", (index) => `"${index}"`, "]", size),
    "known words again and again": filled("[", () => JSON.stringify(values?.[0] ?? "pull"), "]", size),
    "unknown fields": filled("{", (index) => `"x${index}":${index}`, "}", size),
    "unknown fields that count": filled("{", (index) => `"${index}":[]`, "}", size),
    "one field again and again": filled("{", () => `${JSON.stringify(name)}:"a"`, "}", size),
    prototypes: filled("{", (index) => (index % 2 === 0 ? '"__proto__":{"isAdmin":true}' : '"constructor":{"prototype":{}}'), "}", size),
    "names of escapes": filled("{", (index) => `"\\u0061${String.raw`\u0000`.repeat(index % 7)}${index}":0`, "}", size),
    "a long name": `{"${"n".repeat(size - 10)}":0}`,
    "a long text": `"${"a".repeat(size - 2)}"`,
    "a text that nearly matches": `"${"a-".repeat(size / 2 - 2)}!"`,
    "a text of hyphens": `"a${"-".repeat(size - 4)}"`,
    "a text of escapes": `"${"\\u0000".repeat(Math.floor(size / 6) - 1)}"`,
    "a text of marks": `"a${"\u0301".repeat(Math.floor(size / 2) - 4)}"`,
    "half characters": `"${"\\ud800".repeat(Math.floor(size / 6) - 1)}"`,
    "a long number": "1".repeat(size),
    "an exponent": `1e${"9".repeat(size - 2)}`,
  };
}

/** Bodies of the largest size, by name: each worst value at each place of the operation's body; and those that are no JSON. */
export function worstBodies(operation: Operation): Map<string, Buffer> {
  const bodies = new Map<string, Buffer>();
  for (const { at, schema, around } of placesOf(operation)) {
    const room = MAX_BODY_BYTES - Buffer.byteLength(around(""));
    for (const [name, value] of Object.entries(worstValues(schema, room))) bodies.set(`${name} at ${at}`, Buffer.from(around(value)));
  }
  bodies.set("brackets that never close", Buffer.alloc(MAX_BODY_BYTES, "["));
  bodies.set("fields that never close", Buffer.from('{"a":'.repeat(MAX_BODY_BYTES / 5)));
  bodies.set("quotes", Buffer.alloc(MAX_BODY_BYTES, '"'));
  bodies.set("spaces", Buffer.alloc(MAX_BODY_BYTES, " "));
  bodies.set("bytes that are no text", Buffer.alloc(MAX_BODY_BYTES, 0xff));
  bodies.set("zeros", Buffer.alloc(MAX_BODY_BYTES));
  return bodies;
}

/** Numbers from 0 up to 1, the same for the same seed. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // Source: mulberry32, in the public domain.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ODD = [
  null,
  true,
  0,
  -1,
  0.5,
  2 ** 53,
  1e300,
  "",
  " ",
  "A",
  "a b",
  "a\n",
  "a\0",
  "é",
  "superuser",
  "__proto__",
  "9".repeat(300),
  [],
  {},
];

/** A valid value with one to three random changes: other types, other lengths, more and fewer fields. */
export function spoiled(value: unknown, random: () => number): unknown {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const change = (each: unknown): unknown => {
    if (Array.isArray(each) && random() < 0.7) {
      const at = Math.floor(random() * each.length);
      return random() < 0.5 ? [...each, ...each, pick(ODD)] : each.map((item, index) => (index === at ? change(item) : item));
    }
    if (typeof each !== "object" || each === null || random() < 0.1) return pick(ODD);
    const names = Object.keys(each);
    const name = names.length > 0 && random() < 0.7 ? pick(names) : pick(["x", "isAdmin", "constructor", "toString", "0", ""]);
    const fields = Object.entries(each).filter(([other]) => other !== name);
    const own = Object.hasOwn(each, name) ? [[name, change((each as Record<string, unknown>)[name])]] : [[name, pick(ODD)]];
    const more = random() < 0.2 ? Array.from({ length: Math.ceil(random() * 20) }, (_, index) => [`more${index}`, pick(ODD)]) : [];
    return Object.fromEntries(random() < 0.15 ? fields : [...more, ...fields, ...own]);
  };
  let changed = value;
  for (let times = 1 + Math.floor(random() * 3); times > 0; times--) changed = change(changed);
  return changed;
}
