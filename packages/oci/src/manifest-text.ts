// Checks a manifest's text for ambiguities that a parsed value does not show, and that make two readers of the same bytes see two
// manifests: duplicate keys, keys that differ from a known one only in case, numbers in a form that not every reader accepts, too deep
// nesting. It makes one pass before the text is parsed. Not here: whether it is JSON at all, and what it names (manifest.ts).

/** The deepest nesting of a manifest's JSON, so that hostile input cannot exhaust the stack. */
export const MAX_JSON_DEPTH = 64;
/**
 * The most objects, lists, and items of both. The largest allowed number of descriptors with annotations stays below it; 4 MiB could hold
 * two million values, which cost a second of the process that parses them.
 */
export const MAX_JSON_VALUES = 100_000;

/** The kind of an object: the keys that readers know in it. */
interface Shape {
  readonly keys: ReadonlyMap<string, Key>;
  /** The keys by their folded form. */
  readonly folded: ReadonlyMap<string, string>;
}

/** A known key. */
interface Key {
  /** Its number must be whole and consist of digits: Go reads neither 1.0 nor 1e3 into an integer. */
  readonly isWhole: boolean;
  /** The shape of its value, or of the items of its list. */
  readonly inner: Shape;
}

function shape(names: readonly string[], whole?: string, inner: Readonly<Record<string, Shape>> = {}): Shape {
  return {
    keys: new Map(names.map((name) => [name, { isWhole: name === whole, inner: inner[name] ?? OTHER }])),
    folded: new Map(names.map((name) => [fold(name), name])),
  };
}

const OTHER: Shape = { keys: new Map(), folded: new Map() };
const PLATFORM = shape(["architecture", "os", "os.version", "os.features", "variant", "features"]);
const DESCRIPTOR = shape(["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"], "size", {
  platform: PLATFORM,
});
// The keys of all manifest types together: a field of another type is refused by its name, in any case.
const ROOT = shape(
  [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "annotations",
    "fsLayers",
    "history",
    "signatures",
  ],
  "schemaVersion",
  { config: DESCRIPTOR, layers: DESCRIPTOR, manifests: DESCRIPTOR, blobs: DESCRIPTOR, subject: DESCRIPTOR },
);

/** The longest key that can equal a known one. */
const LONGEST = Math.max(...[ROOT, DESCRIPTOR, PLATFORM].flatMap(({ folded }) => [...folded.keys()].map((key) => key.length)));

/**
 * A key as case-insensitive readers compare it: with simple folding, where the long s and the Kelvin sign equal letters of ASCII.
 * Source: Go's encoding/json, with which docker, containerd, crane and skopeo read manifests.
 */
function fold(key: string): string {
  return key.replaceAll("\u017f", "s").replaceAll("\u212a", "k").toLowerCase();
}

/** Describes the problem, or returns undefined. It takes any text; for one that is not JSON the result means nothing. */
export function findAmbiguity(text: string): string | undefined {
  /** The shape of each open bracket; a list has that of its items. */
  const shapes: Shape[] = [];
  const areObjects: boolean[] = [];
  /**
   * The keys seen in the open object of each depth. The sets are cleared and reused, because a set for each descriptor would cost more than
   * everything else.
   */
  const keysAt: Set<string>[] = [];
  let inner = ROOT;
  let values = 1;
  let at = 0;
  while (at < text.length) {
    const c = text.charCodeAt(at);
    if (c === OPEN_OBJECT || c === OPEN_LIST) {
      if (shapes.length === MAX_JSON_DEPTH) return `it is nested deeper than ${MAX_JSON_DEPTH}`;
      if (++values > MAX_JSON_VALUES) return TOO_MUCH;
      if (c === OPEN_OBJECT) (keysAt[shapes.length] ??= new Set()).clear();
      shapes.push(inner);
      areObjects.push(c === OPEN_OBJECT);
      at++;
    } else if (c === CLOSE_OBJECT || c === CLOSE_LIST) {
      shapes.pop();
      areObjects.pop();
      at++;
    } else if (c === QUOTE) {
      const end = endOfString(text, at);
      const after = skipSpace(text, end);
      if (text.charCodeAt(after) !== COLON) {
        at = end;
        continue;
      }
      const depth = shapes.length - 1;
      if (areObjects[depth] !== true) return "it is not JSON";
      const key = readString(text, at, end);
      const keys = keysAt[depth]!;
      const count = keys.size;
      if (keys.add(key).size === count) return `a key is there twice: ${shown(key)}`;
      const here = shapes[depth]!;
      const known = here.keys.get(key);
      if (known === undefined && here !== OTHER && key.length <= LONGEST) {
        const meant = here.folded.get(fold(key));
        if (meant !== undefined) return `the key ${shown(key)} differs from ${meant} by case alone`;
      }
      inner = known?.inner ?? OTHER;
      at = skipSpace(text, after + 1);
      if (known?.isWhole === true && !isWholeAt(text, at)) return `${key} is not a whole number in digits`;
    } else {
      if (c === COMMA) {
        if (++values > MAX_JSON_VALUES) return TOO_MUCH;
        // The next item of a list has the same shape as the one before.
        if (areObjects.at(-1) === false) inner = shapes.at(-1)!;
      }
      at++;
    }
  }
  return undefined;
}

const TOO_MUCH = `it holds more than ${MAX_JSON_VALUES} values`;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

/** The index after the quote that ends the string beginning at `start`; the text's end if none does. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ; at++) {
    at = text.indexOf('"', at);
    if (at === -1) return text.length;
    let slashes = at;
    while (text.charCodeAt(slashes - 1) === BACKSLASH) slashes--;
    if ((at - slashes) % 2 === 0) return at + 1;
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  for (let c = text.charCodeAt(at); c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = text.charCodeAt(++at));
  return at;
}

function readString(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end - 1);
  // An escaped key is the same key.
  return raw.includes("\\") ? (JSON.parse(text.slice(start, end)) as string) : raw;
}

/** Whether the value here is a number of digits only, or no number at all: other mistakes are found later. */
function isWholeAt(text: string, start: number): boolean {
  let at = start;
  let c = text.charCodeAt(at);
  if (c === 0x2d) return false;
  if (!(c >= 0x30 && c <= 0x39)) return true;
  while (c >= 0x30 && c <= 0x39) c = text.charCodeAt(++at);
  return c !== 0x2e && c !== 0x65 && c !== 0x45;
}

function shown(key: string): string {
  return JSON.stringify(key.slice(0, 50));
}
