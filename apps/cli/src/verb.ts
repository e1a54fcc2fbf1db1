// A verb: one row of the table, from which parsing, help, completion, the call and its output are derived.
// Not here: the rows (verbs/), verbs that are no call (commands/).
import type { Operation } from "@berth/api/operation";
import type { Streams } from "./streams.ts";

/** The field that receives a value: `params.project`, `query.limit`, `body.role`. */
export type Path = `${"params" | "query" | "body"}.${string}`;

/** How a word is parsed. `repository`: PROJECT/NAME; `tag`, `digest`, `reference`: of one; `robot`: PROJECT+NAME, or +NAME; `webhook`: PROJECT/NAME, or NAME. */
export type ArgumentKind = "text" | "repository" | "tag" | "digest" | "reference" | "robot" | "webhook";

/** A word after the verb. */
export interface Argument {
  readonly name: string;
  readonly kind: ArgumentKind;
  /** Of `text`. */
  readonly into?: Path;
  readonly optional?: boolean;
  readonly help: string;
}

/**
 * An option. `text`: as it is; `true`, `false`: it has no value and means this; `none`: it has no value and means null;
 * `texts`: given several times, a list; `file`: what is in the file; `scope`, `time`, `past`, `label`, `claim`: see read-value.ts.
 */
export interface Option {
  readonly name: string;
  readonly kind: "text" | "true" | "false" | "none" | "scope" | "time" | "past" | "label" | "texts" | "claim" | "file";
  readonly into: Path;
  /** The placeholder of the value in the help. */
  readonly value?: string;
  readonly help: string;
  readonly required?: boolean;
}

/** A column of a table; the value is found by its path, or computed. */
export interface Column {
  readonly title: string;
  readonly of: string | ((item: never) => string);
  /** Shown with `--output wide` only. */
  readonly wide?: boolean;
}

/** The properties of all verbs. */
interface VerbBase {
  /** Such as `project list`. */
  readonly words: string;
  readonly summary: string;
  readonly arguments: readonly Argument[];
}

/** A verb that calls an operation. */
export interface CallVerb extends VerbBase {
  /** The first whose `params` are all given is called. */
  readonly operations: readonly Operation[];
  readonly options: readonly Option[];
  readonly columns: readonly Column[];
  /** A password goes into `body.password`: asked for, or read with --password-stdin. */
  readonly password?: "required" | "optional";
  /** The question about what is lost; such a verb asks for confirmation. */
  readonly destroys?: string;
  /** Printed if the answer is empty, or beside the answer. */
  readonly done?: string;
}

/** An option of a command. */
export interface CommandOption {
  readonly name: string;
  readonly short?: string;
  /** Undefined: it has no value. */
  readonly value?: string;
  readonly choices?: readonly string[];
  /** It can be given several times. */
  readonly isMany?: boolean;
  readonly help: string;
}

/** The parsed words and options of a command. */
export interface Given {
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | readonly string[] | undefined>>;
}

/** A verb that is more than one call, or none. */
export interface CommandVerb extends VerbBase {
  readonly commandOptions: readonly CommandOption[];
  /** Operations that it calls. */
  readonly operations: readonly Operation[];
  run(given: Given, streams: Streams): Promise<number>;
}

/** A row of the table. */
export type Verb = CallVerb | CommandVerb;

/** Whether a verb is a call. */
export function isCall(verb: Verb): verb is CallVerb {
  return "columns" in verb;
}

/** Options that every verb has. */
export const COMMON_OPTIONS: readonly CommandOption[] = [
  {
    name: "output",
    short: "o",
    value: "FORM",
    choices: ["table", "wide", "json", "yaml"],
    help: "how the answer is printed; table where it is not given",
  },
  { name: "registry", value: "ADDRESS", help: "the registry, in place of the current context's; also BERTH_REGISTRY" },
  { name: "context", value: "NAME", help: "the context, in place of the current one; see `berth context list`" },
  { name: "ca-file", value: "FILE", help: "certificates that are trusted besides the system's, as PEM" },
  { name: "help", short: "h", help: "say how the verb is used" },
];

/** Options of a verb beside the common ones, as the command line knows them. */
export function optionsOf(verb: Verb): readonly CommandOption[] {
  if (!isCall(verb)) return verb.commandOptions;
  const isList = verb.operations.some(isListOperation);
  return [
    ...verb.options.map(({ name, kind, into, value, help, required }) => {
      const choices = choicesOf(verb.operations[0]!, into);
      const takesValue = kind !== "true" && kind !== "false" && kind !== "none";
      const shown = choices.length === 0 ? help : `${help}: ${choices.join(", ")}`;
      const about = required === true ? `${shown} (required)` : shown;
      return {
        name,
        help: about,
        choices,
        isMany: kind === "scope" || kind === "claim" || kind === "label" || kind === "texts",
        ...(takesValue ? { value: value ?? "VALUE" } : {}),
      };
    }),
    ...(isList ? [{ name: "limit", value: "N", help: "print the first N only; all where it is not given" }] : []),
    ...(verb.password === "optional" ? [{ name: "set-password", help: "ask for a new password" }] : []),
    ...(verb.password === undefined ? [] : [{ name: "password-stdin", help: "read the password from standard input" }]),
    ...(verb.destroys === undefined ? [] : [{ name: "yes", short: "y", help: "do not ask" }]),
  ];
}

/** Whether the answer of an operation is a page of a list. */
export function isListOperation({ query, answer, stream }: Operation): boolean {
  return stream === undefined && answer !== undefined && Object.hasOwn(query.properties, "after");
}

/** The values that a field may have, where its schema lists them. */
export function choicesOf(operation: Operation, path: Path): readonly string[] {
  const [place, name] = path.split(".") as ["params" | "query" | "body", string];
  const schema = operation[place] as unknown as { readonly properties?: Readonly<Record<string, { readonly enum?: readonly string[] }>> };
  return schema?.properties?.[name]?.enum ?? [];
}
