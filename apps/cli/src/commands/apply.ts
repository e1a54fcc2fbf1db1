// Makes a registry what files say, shows how it differs from them, and writes such files. Not here: the files and the plan (../apply/).
import { applySchema } from "@berth/api/apply";
import type { Operation } from "@berth/api/operation";
import type { Client } from "@berth/api-client/client";
import { CallError, ConnectionError } from "@berth/api-client/errors";
import { stringify } from "yaml";
import { makePlan } from "../apply/plan.ts";
import { readDocuments } from "../apply/read-documents.ts";
import { type ProjectState, readStateOf, readWholeState } from "../apply/registry-state.ts";
import type { FieldChange, Step } from "../apply/step.ts";
import { documentsOf } from "../apply/write-documents.ts";
import { confirm } from "../ask.ts";
import { connectTo, findTarget } from "../connect.ts";
import { EXIT, Misuse } from "../misuse.ts";
import { type OutputForm, printList } from "../print.ts";
import { note, printLine, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const COLUMNS = [
  { title: "ACTION", of: "action" },
  { title: "KIND", of: "kind" },
  { title: "NAME", of: "name" },
  { title: "CHANGES", of: ({ changes }: Pick<Step, "changes">) => changes.map(changeText).join("; ") },
];
const SECRET_COLUMNS = [
  { title: "OF", of: ({ login, name }: Secret) => login ?? `webhook ${name}` },
  { title: "SECRET", of: "secret" },
];

/** An answer with a secret that is shown this once: a robot's has a login name. */
interface Secret {
  readonly login?: string;
  readonly name: string;
  readonly secret: string | null;
}

const LISTS = ["members", "groups", "robots", "webhooks"] as const satisfies readonly (keyof ProjectState)[];

const formOf = ({ options }: Given): OutputForm => (options["output"] ?? "table") as OutputForm;

/** Does what the files say. Exit code 1 where a step failed; what was done before it stays done. */
export async function apply(given: Given, streams: Streams): Promise<number> {
  const target = await findTarget(given, streams);
  const client = connectTo(target);
  const steps = await plan(given, streams, client);
  const todo = steps.filter(({ call }) => call !== undefined);
  const form = formOf(given);
  if (given.options["dry-run"] === true) {
    printPlan(streams, form, steps);
    note(streams, `Nothing was changed. ${summaryOf(steps)}`);
    return EXIT.ok;
  }
  const lost = todo.filter(({ action }) => action === "delete");
  if (lost.length > 0) {
    const names = lost.map(({ kind, name }) => `${kind} ${name}`);
    const question = `${names.slice(0, 10).join(", ")}${names.length > 10 ? ` and ${names.length - 10} more` : ""} will be deleted.`;
    await confirm(streams, `${question} Registry: ${target.registry}.`, given.options["yes"] === true);
  }
  const { secrets, failed } = await run(todo, client, streams);
  printPlan(streams, form, failed === undefined ? steps : todo.slice(0, failed.done), secrets);
  if (failed !== undefined) {
    const step = todo[failed.done];
    note(
      streams,
      `berth: ${step?.action} ${step?.kind} ${step?.name} failed; ${failed.done} of ${todo.length} changes were made before it:`,
    );
    throw failed.error;
  }
  note(streams, summaryOf(steps));
  return EXIT.ok;
}

/** Shows how the registry differs from the files. Exit code 1 where it does. */
export async function diff(given: Given, streams: Streams): Promise<number> {
  const steps = await plan(given, streams, connectTo(await findTarget(given, streams)));
  printPlan(streams, formOf(given), steps);
  note(streams, summaryOf(steps));
  return steps.length === 0 ? EXIT.ok : EXIT.failed;
}

/** Prints what the registry has, as documents. */
export async function exportState(given: Given, streams: Streams): Promise<number> {
  const client = connectTo(await findTarget(given, streams));
  const state = await readWholeState(given.words, client, { signal: streams.signal });
  const documents = documentsOf(state);
  if (formOf(given) === "json") printLine(streams, JSON.stringify(documents, undefined, 2));
  else for (const document of documents) streams.stdout.write(`---\n${stringify(document)}`);
  for (const project of state.projects.values()) {
    const hidden = LISTS.filter((list) => project[list] === undefined);
    if (hidden.length > 0)
      note(
        streams,
        `berth: you may not see the ${new Intl.ListFormat("en").format(hidden)} of ${project.name}: the file leaves them as they are`,
      );
  }
  for (const { name, keys } of state.issuers ?? []) {
    if (keys.source === "given")
      note(streams, `berth: the keys of issuer ${name} were given to the registry, which does not show them: add them to the file as keys`);
  }
  return EXIT.ok;
}

/** Prints the schema of such files. */
export function printSchema(_given: Given, streams: Streams): Promise<number> {
  printLine(streams, JSON.stringify(applySchema(), undefined, 2));
  return Promise.resolve(EXIT.ok);
}

async function plan({ options }: Given, streams: Streams, client: Client): Promise<readonly Step[]> {
  const files = (options["file"] ?? []) as readonly string[];
  if (files.length === 0) throw new Misuse("no file is given: use -f FILE, -f FOLDER or -f - for the input");
  const documents = (await readDocuments(files, streams)).map(({ document }) => document);
  const state = await readStateOf(documents, client, { signal: streams.signal });
  return makePlan(documents, state, { prune: options["prune"] === true });
}

// The plan's calls are of any operation: what they send has no types of its own.
type AnyCall = (operation: Operation, options: object) => Promise<unknown>;

async function run(steps: readonly Step[], client: Client, { signal }: Streams) {
  const secrets: Secret[] = [];
  for (const [done, { call, kind, action }] of steps.entries()) {
    const { operation, ...sent } = call!;
    try {
      const answer = await (client.call as AnyCall)(operation, { ...sent, signal });
      if (action === "create" && (kind === "robot" || kind === "webhook") && (answer as Secret).secret !== null)
        secrets.push(answer as Secret);
    } catch (error) {
      if (!(error instanceof CallError || error instanceof ConnectionError || signal.aborted)) throw error;
      return { secrets, failed: { done, error } };
    }
  }
  return { secrets, failed: undefined };
}

function printPlan(streams: Streams, form: OutputForm, steps: readonly Step[], secrets: readonly Secret[] = []): void {
  const shown = steps.map(({ action, kind, name, changes }) => ({ action, kind, name, changes }));
  if (form === "json") return printLine(streams, JSON.stringify({ steps: shown, secrets }, undefined, 2));
  if (form === "yaml") return void streams.stdout.write(stringify({ steps: shown, secrets }));
  if (shown.length > 0) printList(streams, form, COLUMNS, shown);
  // Shown this once, also where a later step failed.
  if (secrets.length > 0) printList(streams, form, SECRET_COLUMNS, secrets);
}

function changeText({ field, from, to }: FieldChange): string {
  const text = (value: unknown): string => {
    if (Array.isArray(value)) return value.join(" ");
    return value === null ? "none" : typeof value === "string" ? value : JSON.stringify(value);
  };
  if (from === undefined) return `${field} ${text(to)}`;
  return to === undefined ? `${field} ${text(from)}` : `${field} ${text(from)} -> ${text(to)}`;
}

function summaryOf(steps: readonly Step[]): string {
  if (steps.length === 0) return "The registry is as the files say.";
  const counts = Map.groupBy(steps, ({ action }) => action);
  const parts = (["create", "update", "delete"] as const).flatMap((action) => {
    const count = counts.get(action)?.length ?? 0;
    return count === 0 ? [] : [`${count} to ${action}`];
  });
  const extra = counts.get("extra")?.length ?? 0;
  const left = extra === 0 ? "" : `${extra} in the registry and not in the files: --prune deletes them.`;
  return [parts.length === 0 ? "" : `${parts.join(", ")}.`, left].filter((part) => part !== "").join(" ");
}
