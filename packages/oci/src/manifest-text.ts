// Looks at a manifest's text for what a parsed value no longer tells, and by which two readers of the same bytes see two manifests: keys
// that are there twice, keys that equal a known one but for case, numbers in a form that not every reader takes, too deep nesting.
// One pass, before anything is parsed. Not here: whether it is JSON at all, and what it names (manifest.ts).

/** Deepest nesting that a manifest's JSON may have, so that hostile input cannot exhaust the stack. */
export const MAX_JSON_DEPTH = 64;
/**
 * Most objects, lists, and items of either. As many descriptors as there may be, with annotations, stay below; 4 MiB hold two million, which
 * cost a second of the process that parses them.
 */
export const MAX_JSON_VALUES = 100_000;

/** What an object is: the keys that readers know there. */
interface Shape {
  readonly keys: ReadonlyMap<string, Key>;
  /** The keys by their folded form. */
  readonly folded: ReadonlyMap<string, string>;
}

/** What is known of a key. */
interface Key {
  /** Its number must be whole and written in digits alone: Go reads no 1.0 and no 1e3 into an integer. */
  readonly isWhole: boolean;
  /** What lies behind it, itself or in a list. */
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
// Of all manifest types together: what is no field of its own type is refused by its name, in whatever case.
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

/** Longest key that can equal a known one. */
const LONGEST = Math.max(...[ROOT, DESCRIPTOR, PLATFORM].flatMap(({ folded }) => [...folded.keys()].map((key) => key.length)));

/**
 * A key as readers that do not look at case compare it: simple folding, by which the long s and the Kelvin sign are letters of ASCII.
 * Source: Go's encoding/json, which docker, containerd, crane and skopeo read manifests with.
 */
function fold(key: string): string {
  return key.replaceAll("\u017f", "s").replaceAll("\u212a", "k").toLowerCase();
}

/** What is wrong, or undefined. Takes any text; of one that is not JSON it may say anything. */
export function findAmbiguity(text: string): string | undefined {
  /** What each open bracket is; a list holds what its key says. */
  const shapes: Shape[] = [];
  const areObjects: boolean[] = [];
  /** Keys seen in the open object of a depth; kept and cleared, since a set a descriptor would cost more than all else. */
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
        // The next of a list is what the one before was.
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

/** Behind the quote that ends the string which begins at `start`; the text's end where none does. */
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

/** Whether what begins here is a number in digits alone, or no number: what else it is is seen later. */
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
