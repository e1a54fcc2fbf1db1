// Reads a JSON body: the value, or why it is none, or why no operation could want it. Its shape is bounded before anything looks at it, so
// that whatever looks has little to do. Pure. Not here: which fields an operation has (@berth/api/check-value).
import { ApiError } from "@berth/api/errors";
import { fieldOf, type Problem } from "@berth/api/problem";

/** The depth of nested objects and lists. The deepest body, a robot's, has four. */
export const MAX_DEPTH = 8;
/** Fields of one object. The widest body has three. */
export const MAX_FIELDS = 32;
/** How large the parts of a body may be: as large as the largest that its operation has. */
export interface BodyBounds {
  /** Items of one list. */
  readonly items: number;
  /** Characters of one text as it is written, including escapes. */
  readonly textLength: number;
}

/** Of operations whose parts are all smaller. */
export const COMMON_BOUNDS: BodyBounds = { items: 256, textLength: 4096 };
/** One character takes as many as this where it is written as two escapes. */
const MAX_WRITTEN_LENGTH = 12;
/** Characters of a field's name as it is written. */
export const MAX_NAME_LENGTH = 128;

/** The bounds of bodies of a schema. */
export function boundsOf(schema: unknown): BodyBounds {
  if (typeof schema !== "object" || schema === null) return COMMON_BOUNDS;
  const { maxLength, maxItems } = schema as { readonly maxLength?: unknown; readonly maxItems?: unknown };
  const parts = Object.values(schema).map(boundsOf);
  return {
    items: Math.max(COMMON_BOUNDS.items, typeof maxItems === "number" ? maxItems : 0, ...parts.map(({ items }) => items)),
    textLength: Math.max(
      COMMON_BOUNDS.textLength,
      typeof maxLength === "number" ? maxLength * MAX_WRITTEN_LENGTH : 0,
      ...parts.map(({ textLength }) => textLength),
    ),
  };
}

/** Parses a body; undefined if there is none. Errors: BODY_INVALID, FIELD_INVALID for a shape out of bounds or a duplicate field. */
export function readJson(bytes: Uint8Array, bounds: BodyBounds): unknown {
  if (bytes.length === 0) return undefined;
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw new ApiError("BODY_INVALID", { cause });
  }
  const problem = findShapeProblem(text, bounds);
  if (problem !== undefined) throw new ApiError("FIELD_INVALID", { detail: [problem] });
  return value;
}

/** An object or a list that is being read. */
interface Open {
  readonly field: string;
  /** Names so far; undefined for a list. */
  readonly names: Set<string> | undefined;
  items: number;
  /** The name whose value comes next; undefined before it. */
  name: string | undefined;
}

// One pass over a text that is known to be JSON, so that only strings and brackets matter. JSON.parse alone would hide duplicate names.
function findShapeProblem(text: string, { items, textLength }: BodyBounds): Problem | undefined {
  const open: Open[] = [];
  let top: Open | undefined;
  const here = (): string => (top === undefined ? "body" : fieldOf(top.field, top.name ?? top.items));
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (top?.names !== undefined && top.name === undefined) {
          const written = text.slice(at + 1, end);
          if (written.length > MAX_NAME_LENGTH)
            return { field: fieldOf(top.field, written), reason: `has a name of more than ${MAX_NAME_LENGTH} characters` };
          top.name = JSON.parse(`"${written}"`) as string;
          if (top.names.has(top.name)) return { field: here(), reason: "is given twice" };
          top.names.add(top.name);
          if (top.names.size > MAX_FIELDS) return { field: top.field, reason: `has more than ${MAX_FIELDS} fields` };
        } else if (end - at - 1 > textLength) {
          return { field: here(), reason: `is longer than ${textLength} characters` };
        }
        at = end;
        break;
      }
      case "{":
      case "[":
        if (open.length === MAX_DEPTH) return { field: here(), reason: `is more than ${MAX_DEPTH} levels deep` };
        top = { field: here(), names: text[at] === "{" ? new Set() : undefined, items: 0, name: undefined };
        open.push(top);
        break;
      case "}":
      case "]":
        open.pop();
        top = open.at(-1);
        break;
      case ",":
        top!.items++;
        top!.name = undefined;
        if (top!.names === undefined && top!.items >= items) return { field: top!.field, reason: `has more than ${items} items` };
        break;
      default:
    }
  }
  return undefined;
}

function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}
