// Checks the parts of a request against an operation: own checks first, which say what is wrong, then a validator as a second judge. Pure.
// Not here: the schemas (@berth/api), the checks themselves (@berth/api/check-value), reading bodies (read-json.ts).
import { ApiError } from "@berth/api/errors";
import { Nothing } from "@berth/api/fields";
import type { Operation } from "@berth/api/operation";
import type { TObject, TSchema } from "typebox";
import { Compile } from "typebox/compile";
import { createValueCheck } from "@berth/api/check-value";
import { fieldOf, MAX_PROBLEMS, type Problem } from "@berth/api/problem";

/** A request's parts as they arrived. */
export interface RawInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

type Check = (value: unknown, problems: Problem[]) => void;

/** Creates a checker of an operation's input; its result has the operation's types. Errors of the checker: FIELD_INVALID. */
export function createInputCheck(operation: Operation): (raw: RawInput) => RawInput {
  const checkParams = createCheck("params", operation.params);
  const checkQuery = createCheck("query", operation.query);
  const checkBody = createCheck("body", operation.body ?? Nothing);
  return ({ params, query, body }) => {
    const problems: Problem[] = [];
    const input = {
      params: readTexts("params", operation.params, params, problems),
      query: readTexts("query", operation.query, query, problems),
      // Some clients send an empty object if there is no body.
      body: operation.body === undefined && body === undefined ? {} : body,
    };
    if (problems.length === 0) {
      checkParams(input.params, problems);
      checkQuery(input.query, problems);
      checkBody(input.body, problems);
    }
    if (problems.length > 0) throw new ApiError("FIELD_INVALID", { detail: problems.slice(0, MAX_PROBLEMS) });
    return operation.body === undefined ? { ...input, body: undefined } : input;
  };
}

function createCheck(part: string, schema: TSchema): Check {
  const check = createValueCheck(schema);
  const validator = Compile(schema);
  return (value, problems) => {
    const before = problems.length;
    check(value, part, problems);
    // What the second judge refuses is refused, even where the first has no words for it. Its report is left alone: see @berth/api/check-value.
    if (problems.length === before && !validator.Check(value)) problems.push({ field: part, reason: "is not valid" });
  };
}

const INTEGER = /^-?\d{1,15}$/;

/** Values in an address are text; if the schema needs a number or a truth value, a text that is exactly one is accepted. */
function readTexts(part: string, schema: TObject, raw: unknown, problems: Problem[]): Record<string, unknown> {
  const fields = Object.create(null) as Record<string, unknown>;
  for (const [name, text] of Object.entries(raw as object)) {
    if (problems.length === MAX_PROBLEMS) break;
    if (typeof text !== "string") problems.push({ field: fieldOf(part, name), reason: "is given twice" });
    // No database keeps a NUL in a text, and nothing in an address may hold a character that nobody sees.
    // oxlint-disable-next-line no-control-regex -- they are what is looked for
    else if (/[\x00-\x1f\x7f]/.test(text)) problems.push({ field: fieldOf(part, name), reason: "must not hold a control character" });
    else fields[name] = valueOf(typeOf(schema, name), text);
  }
  return fields;
}

function typeOf({ properties }: TObject, name: string): string | undefined {
  return Object.hasOwn(properties, name) ? (properties[name] as { type?: string }).type : undefined;
}

function valueOf(type: string | undefined, text: string): unknown {
  if (type === "integer" && INTEGER.test(text)) return Number(text);
  if (type === "boolean" && (text === "true" || text === "false")) return text === "true";
  return text;
}
