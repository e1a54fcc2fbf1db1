// Checks a request's fields against an operation's schemas, and says what is wrong in words. Pure. Not here: the schemas (@berth/api).
import { ApiError } from "@berth/api/errors";
import type { Operation } from "@berth/api/operation";
import { Compile } from "typebox/compile";
import { Convert } from "typebox/value";
import type { TSchema } from "typebox";

/** Most problems that one answer tells. */
const MAX_PROBLEMS = 10;

/** One thing wrong with a request. */
export interface Problem {
  /** For example `body.name` or `query.limit`. */
  readonly field: string;
  readonly reason: string;
}

/** A request's parts as they came. */
export interface RawInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

type Check = (value: unknown, problems: Problem[]) => unknown;

/** A checker of an operation's input; what it gives back has the types that the operation names. Errors of the checker: FIELD_INVALID. */
export function createInputCheck(operation: Operation): (raw: RawInput) => RawInput {
  const params = createCheck("params", operation.params, true);
  const query = createCheck("query", operation.query, true);
  const body = operation.body === undefined ? undefined : createCheck("body", operation.body, false);
  return (raw) => {
    const problems: Problem[] = [];
    const input = {
      params: params(raw.params, problems),
      query: query(raw.query, problems),
      body: body === undefined ? undefined : body(raw.body, problems),
    };
    if (problems.length > 0) throw new ApiError("FIELD_INVALID", { detail: problems.slice(0, MAX_PROBLEMS) });
    return input;
  };
}

function createCheck(part: string, schema: TSchema, isText: boolean): Check {
  const validator = Compile(schema);
  return (raw, problems) => {
    // What stands in an address is text; where the schema says number, a text that is one counts as such.
    const value = isText ? Convert(schema, { ...(raw as object) }) : raw;
    // No database keeps a NUL in a text, and nothing in an address may hold one.
    if (isText) problems.push(...findNul(part, value as object));
    if (!validator.Check(value)) problems.push(...describeProblems(part, validator.Errors(value)));
    return value;
  };
}

function findNul(part: string, fields: object): Problem[] {
  return Object.entries(fields)
    .filter(([, value]) => typeof value === "string" && value.includes("\0"))
    .map(([name]) => ({ field: `${part}.${name}`, reason: "must not hold a NUL character" }));
}

interface SchemaError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: Readonly<Record<string, unknown>>;
}

// One problem a field: a schema with alternatives reports each of them, of which the first says enough.
function describeProblems(part: string, errors: readonly SchemaError[]): Problem[] {
  const problems = new Map<string, string>();
  for (const { keyword, instancePath, message, params } of errors) {
    const at = `${part}${instancePath.replaceAll("/", ".")}`;
    if (keyword === "additionalProperties") {
      for (const name of params["additionalProperties"] as string[]) problems.set(`${at}.${name.slice(0, 100)}`, "is not a known field");
    } else if (keyword === "required") {
      for (const name of params["requiredProperties"] as string[]) problems.set(`${at}.${name}`, "is missing");
    } else if (keyword === "enum") {
      problems.set(at, `must be one of ${(params["allowedValues"] as unknown[]).join(", ")}`);
    } else if (keyword !== "boolean" && !problems.has(at)) {
      problems.set(at, message);
    }
  }
  return [...problems].map(([field, reason]) => ({ field, reason }));
}
