// One difference between a registry and files, and what it is made of. Pure. Not here: which differences there are (plan*.ts), making the
// calls (../commands/apply.ts).
import type { Operation } from "@berth/api/operation";

/** A field that differs. */
export interface FieldChange {
  readonly field: string;
  /** Undefined: it is not there. */
  readonly from: unknown;
  readonly to: unknown;
}

/** What differs. */
export type StepKind = "project" | "networks" | "member" | "group" | "robot" | "trust" | "webhook" | "issuer" | "setting";

/** One difference, and the call that ends it. */
export interface Step {
  /** `extra`: the registry has it and the files do not; it stays. */
  readonly action: "create" | "update" | "delete" | "extra";
  readonly kind: StepKind;
  /** As people write it: `team`, `team/ada`, `team+ci`, `log.level`. */
  readonly name: string;
  readonly changes: readonly FieldChange[];
  /** Undefined for what stays. */
  readonly call: Call | undefined;
}

/** An operation with what it is sent. */
export interface Call {
  readonly operation: Operation;
  readonly params?: object;
  readonly body?: object;
}

/** The fields that a file names and that are otherwise in the registry. `forms` brings two spellings of one value to one. */
export function changesOf<F extends string>(
  fields: readonly F[],
  wanted: { readonly [K in F]?: unknown },
  found: { readonly [K in F]?: unknown } | undefined,
  forms: { readonly [K in F]?: (value: never) => unknown } = {},
): readonly FieldChange[] {
  return fields.flatMap((field): readonly FieldChange[] => {
    if (wanted[field] === undefined) return [];
    const formed = (value: unknown): unknown => {
      const form = forms[field] as ((value: unknown) => unknown) | undefined;
      return value === undefined || value === null || form === undefined ? value : form(value);
    };
    const [from, to] = [formed(found?.[field]), formed(wanted[field])];
    return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ field, from, to }];
  });
}

/** The parts of a file's entry that a body has: those of `fields` that are given. */
export function given<T extends object, F extends keyof T>(entry: T, fields: readonly F[]): Partial<Pick<T, F>> {
  return Object.fromEntries(fields.flatMap((field) => (entry[field] === undefined ? [] : [[field, entry[field]]]))) as Partial<Pick<T, F>>;
}

/** The parts that differ, as a body that changes them. */
export function changed<T extends object>(entry: T, changes: readonly FieldChange[]): Partial<T> {
  return given(
    entry,
    changes.map(({ field }) => field as keyof T),
  );
}

/** The differences of a whole list: of each entry that the files have, and the entries that they do not have. */
export function planList<W extends { readonly name: string }, F extends { readonly name: string }>(
  wanted: readonly W[],
  found: readonly F[],
  planEntry: (entry: W, known: F | undefined) => readonly Step[],
  extraStep: (entry: F) => Pick<Step, "kind" | "name" | "changes" | "call">,
): readonly Step[] {
  const known = new Map(found.map((entry) => [entry.name, entry]));
  const listed = new Set(wanted.map(({ name }) => name));
  return [
    ...wanted.flatMap((entry) => planEntry(entry, known.get(entry.name))),
    ...extraOf(found, ({ name }) => listed.has(name), extraStep),
  ];
}

/** What a list of the registry has and the files do not. */
export function extraOf<T>(
  found: readonly T[],
  isListed: (entry: T) => boolean,
  step: (entry: T) => Pick<Step, "kind" | "name" | "changes" | "call">,
): readonly Step[] {
  return found.filter((entry) => !isListed(entry)).map((entry) => ({ action: "extra", ...step(entry) }));
}

/** Scopes in one order, so that the order of a file makes no difference. */
export function scopeTexts(
  scopes: readonly { readonly repositories: string; readonly actions: readonly string[]; readonly tags?: readonly string[] }[],
): readonly string[] {
  return scopes
    .map(({ repositories, actions, tags = [] }) => [repositories, actions.toSorted().join(","), ...tags.toSorted()].join(":"))
    .toSorted();
}
