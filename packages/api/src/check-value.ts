// Checks values against the schemas of operations by own code: each problem in words, unknown fields among them, in work that the bounds of
// the schema limit. Made anew rather than read from a validator's report, which is long where an attacker wants it to be, and ends where he
// wants it to. Pure. Not here: the schemas (beside it), where values come from (the server's http/api/validate.ts, files of apply).
import type { TSchema } from "typebox";
import { fieldOf, MAX_PROBLEMS, type Problem } from "./problem.ts";

/** Checks the value of a field, and adds its problems; nothing more once there are `MAX_PROBLEMS`. */
export type ValueCheck = (value: unknown, field: string, problems: Problem[]) => void;

/** Creates the check of a schema. Throws for an unknown keyword: nothing may stay unchecked. */
export function createValueCheck(schema: TSchema): ValueCheck {
  const { type, enum: values, anyOf, description: _, ...rules } = schema as unknown as Keywords;
  if (values !== undefined) return isAlone(checkEnum(values), rules, type, anyOf);
  if (anyOf !== undefined) return isAlone(checkAny(anyOf.map(createValueCheck)), rules, type);
  switch (type) {
    case "object":
      return checkObject(schema, rules);
    case "array":
      return checkList(rules);
    case "string":
      return checkText(rules);
    case "integer":
      return checkInteger(rules);
    case "boolean":
      return isAlone(
        checkType("true or false", (value) => typeof value === "boolean"),
        rules,
      );
    case "null":
      return isAlone(
        checkType("null", (value) => value === null),
        rules,
      );
    default:
      throw new TypeError(`no check for a schema of the type ${type}`);
  }
}

type Keywords = Readonly<Record<string, unknown>> & {
  readonly type?: string;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly TSchema[];
};

function isAlone(check: ValueCheck, rules: object, ...others: readonly unknown[]): ValueCheck {
  if (others.some((other) => other !== undefined)) throw new TypeError("a schema says two things");
  known(rules);
  return check;
}

/** Throws for keywords besides those. */
function known(rules: object, ...names: readonly string[]): void {
  const left = Object.keys(rules).filter((name) => !names.includes(name));
  if (left.length > 0) throw new TypeError(`no check for ${left.join(", ")}`);
}

function add(problems: Problem[], field: string, reason: string): void {
  if (problems.length < MAX_PROBLEMS) problems.push({ field, reason });
}

function checkType(what: string, holds: (value: unknown) => boolean): ValueCheck {
  return (value, field, problems) => {
    if (!holds(value)) add(problems, field, `must be ${what}`);
  };
}

function checkEnum(values: readonly string[]): ValueCheck {
  return checkType(`one of ${values.join(", ")}`, (value) => values.includes(value as string));
}

// If no alternative matches, the problems of the first are reported.
function checkAny(checks: readonly ValueCheck[]): ValueCheck {
  return (value, field, problems) => {
    let said: Problem[] | undefined;
    for (const check of checks) {
      const found: Problem[] = [];
      check(value, field, found);
      if (found.length === 0) return;
      said ??= found;
    }
    for (const problem of said ?? []) add(problems, problem.field, problem.reason);
  };
}

interface ObjectRules {
  readonly properties?: Readonly<Record<string, TSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
}

function checkObject(schema: TSchema, rules: object): ValueCheck {
  known(rules, "properties", "required", "additionalProperties");
  const { properties = {}, required = [], additionalProperties } = schema as unknown as ObjectRules;
  if (additionalProperties !== false) throw new TypeError("an object takes fields that nobody knows");
  const fields = new Map(Object.entries(properties).map(([name, each]) => [name, createValueCheck(each)]));
  return (value, field, problems) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return add(problems, field, "must be an object");
    for (const name of required) if (!Object.hasOwn(value, name)) add(problems, fieldOf(field, name), "is missing");
    for (const name of Object.keys(value)) {
      if (problems.length === MAX_PROBLEMS) return;
      const check = fields.get(name);
      if (check === undefined) add(problems, fieldOf(field, name), "is not a known field");
      else check((value as Record<string, unknown>)[name], fieldOf(field, name), problems);
    }
  };
}

interface ListRules {
  readonly items?: TSchema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly uniqueItems?: boolean;
}

function checkList(rules: ListRules): ValueCheck {
  known(rules, "items", "minItems", "maxItems", "uniqueItems");
  const { items, minItems = 0, maxItems = Infinity, uniqueItems = false } = rules;
  const checkItem = items === undefined ? undefined : createValueCheck(items);
  // Items that are texts: equal ones are found in one walk.
  if (uniqueItems && (items as Keywords | undefined)?.enum === undefined) throw new TypeError("only texts of a list can be unique");
  return (value, field, problems) => {
    if (!Array.isArray(value)) return add(problems, field, "must be a list");
    // Items are not checked further: the client chose their number.
    if (value.length < minItems) return add(problems, field, `must have at least ${minItems} items`);
    if (value.length > maxItems) return add(problems, field, `must have at most ${maxItems} items`);
    const before = problems.length;
    for (const [index, item] of value.entries()) {
      if (problems.length === MAX_PROBLEMS) return;
      checkItem?.(item, fieldOf(field, index), problems);
    }
    if (uniqueItems && problems.length === before && new Set(value).size < value.length)
      add(problems, field, "must not name anything twice");
  };
}

interface TextRules {
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly pattern?: string;
  readonly format?: string;
}

/** Source: RFC 3339, section 5.6; the offset's colon and the T are not optional. */
const TIME = /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/;

function checkText(rules: TextRules): ValueCheck {
  known(rules, "minLength", "maxLength", "pattern", "format");
  const { minLength = 0, maxLength = Infinity, format } = rules;
  const pattern = rules.pattern === undefined ? undefined : new RegExp(rules.pattern);
  if (format !== undefined && format !== "date-time") throw new TypeError(`no check for the format ${format}`);
  return (value, field, problems) => {
    if (typeof value !== "string") return add(problems, field, "must be text");
    // In UTF-16 units, as for passwords elsewhere; at least as many as any other count.
    if (value.length > maxLength) return add(problems, field, `must have at most ${maxLength} characters`);
    if (minLength > 0 && countCharacters(value, minLength) < minLength)
      return add(problems, field, `must have at least ${minLength} characters`);
    // Not every database keeps them in a text.
    if (value.includes("\0") || !value.isWellFormed()) add(problems, field, "must not hold a null character, or half of one");
    else if (pattern?.test(value) === false) add(problems, field, `must match ${pattern.source}`);
    else if (format !== undefined && !isTime(value)) add(problems, field, "must be a time such as 2027-01-31T12:00:00Z");
  };
}

// In code points, and no further than needed: at most as many as any other count.
function countCharacters(text: string, enough: number): number {
  let count = 0;
  for (const _ of text) if (++count >= enough) break;
  return count;
}

function isTime(text: string): boolean {
  const match = TIME.exec(text);
  if (match === null || Number.isNaN(Date.parse(text))) return false;
  // JavaScript turns the 31st of February into the 3rd of March.
  const [, year, month, day] = match.map(Number) as [number, number, number, number];
  return day <= new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate() && day >= 1;
}

interface IntegerRules {
  readonly minimum?: number;
  readonly maximum?: number;
}

function checkInteger(rules: IntegerRules): ValueCheck {
  known(rules, "minimum", "maximum");
  const { minimum = -Infinity, maximum = Infinity } = rules;
  return (value, field, problems) => {
    if (!Number.isSafeInteger(value)) return add(problems, field, "must be a whole number");
    if ((value as number) < minimum) add(problems, field, `must be at least ${minimum}`);
    else if ((value as number) > maximum) add(problems, field, `must be at most ${maximum}`);
  };
}
