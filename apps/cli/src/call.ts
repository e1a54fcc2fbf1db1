// Runs a verb that is a call: puts words and options into the operation's fields, calls it, prints the answer. Not here: the verbs
// (verbs/).
import { MAX_PAGE_SIZE } from "@berth/api/limits";
import type { Operation } from "@berth/api/operation";
import type { Client } from "@berth/api-client/client";
import { confirm, readNewPassword } from "./ask.ts";
import { connectTo, findTarget } from "./connect.ts";
import { EXIT, Misuse } from "./misuse.ts";
import { createItemPrinter, type OutputForm, printList, printOne } from "./print.ts";
import { readClaims, readCount, readLabel, readPast, readScope, readText, readTime, readWord } from "./read-value.ts";
import { note, type Streams } from "./streams.ts";
import { type CallVerb, type Given, isListOperation, type Option, type Path } from "./verb.ts";

/** The filled fields of a request. */
export interface Filled {
  readonly params: Record<string, unknown>;
  readonly query: Record<string, unknown>;
  readonly body: Record<string, unknown>;
}

/** Puts words and options into their fields. Errors: `Misuse`. */
export function fill(verb: CallVerb, { words, options }: Given, now: number): Filled {
  const filled: Filled = { params: {}, query: {}, body: {} };
  const put = (path: Path, value: unknown): void => {
    const [place, name] = path.split(".") as [keyof Filled, string];
    if (Object.hasOwn(filled[place], name)) throw new Misuse(`two options say different things of ${name}`);
    filled[place][name] = value;
  };
  for (const [at, { kind, into }] of verb.arguments.entries()) {
    const word = words[at];
    if (word === undefined) continue;
    if (kind === "text") put(into!, word);
    // If the body has the name, it does not exist yet.
    else
      for (const [name, value] of Object.entries(readWord(kind, word)))
        put(name === kind && into !== undefined ? into : `params.${name}`, value);
  }
  for (const option of verb.options) {
    const value = options[option.name];
    if (value !== undefined) put(option.into, valueOf(option, value, now));
    else if (option.required === true) throw new Misuse(`\`berth ${verb.words}\` needs --${option.name}: ${option.help}`);
  }
  return filled;
}

function valueOf({ kind }: Option, value: string | boolean | readonly string[], now: number): unknown {
  if (kind === "true" || kind === "false") return kind === "true";
  if (kind === "none") return null;
  if (kind === "scope") return (value as readonly string[]).map(readScope);
  if (kind === "claim") return readClaims(value as readonly string[]);
  if (kind === "file") return readText(value as string);
  if (kind === "label") return (value as readonly string[]).map(readLabel);
  if (kind === "past") return readPast(value as string, now);
  return kind === "time" ? readTime(value as string, now) : value;
}

/** The operation to call: the first whose parameters are all given. */
export function chooseOperation({ operations, words }: CallVerb, { params }: Filled): Operation {
  const found = operations.find(({ params: { properties } }) => {
    const wanted = Object.keys(properties);
    return wanted.length === Object.keys(params).length && wanted.every((name) => Object.hasOwn(params, name));
  });
  if (found === undefined) throw new Misuse(`\`berth ${words}\` is not called so: see berth ${words} --help`);
  return found;
}

/** Runs it; returns the exit code. */
export async function runCall(verb: CallVerb, given: Given, streams: Streams): Promise<number> {
  const filled = fill(verb, given, Date.now());
  const operation = chooseOperation(verb, filled);
  const limit = given.options["limit"] === undefined ? undefined : readCount("limit", given.options["limit"] as string);
  const target = await findTarget(given, streams);
  const client = connectTo(target);
  if (verb.destroys !== undefined) {
    const what = given.words.at(-1) ?? "";
    await confirm(streams, `${verb.destroys.replace("{}", what)} Registry: ${target.registry}.`, given.options["yes"] === true);
  }
  await addPassword(verb, given, streams, filled);
  await printAnswer({ client, operation, verb, filled, limit }, (given.options["output"] ?? "table") as OutputForm, streams);
  if (verb.done !== undefined) note(streams, verb.done.replace("{}", given.words.at(-1) ?? ""));
  return EXIT.ok;
}

async function addPassword({ password, words }: CallVerb, { options }: Given, streams: Streams, { body }: Filled): Promise<void> {
  if (password === undefined || Object.hasOwn(body, "password")) {
    if (options["password-stdin"] === true && password !== undefined)
      throw new Misuse(`\`berth ${words}\`: a password and none exclude each other`);
    return;
  }
  const isFromInput = options["password-stdin"] === true;
  if (!isFromInput && password === "optional" && options["set-password"] !== true) return;
  body["password"] = await readNewPassword(streams, "Password: ", isFromInput);
}

// Rows of the table are for any operation, so their input has no specific types.
type AnyCall = (operation: Operation, options: object) => Promise<unknown>;
type AnyStream = (operation: Operation, options: object) => AsyncIterable<unknown>;

interface Call {
  readonly client: Client;
  readonly operation: Operation;
  readonly verb: CallVerb;
  readonly filled: Filled;
  readonly limit: number | undefined;
}

async function printAnswer({ client, operation, verb, filled, limit }: Call, form: OutputForm, streams: Streams): Promise<void> {
  const { signal } = streams;
  // The registry checks the values, and its messages say what is wrong with them.
  const sent = { ...filled, ...(operation.body === undefined ? { body: undefined } : {}), signal };
  if (operation.stream !== undefined) {
    const print = createItemPrinter(streams, form, verb.columns);
    for await (const item of (client.stream as AnyStream)(operation, sent)) print(item);
  } else if (isListOperation(operation)) {
    printList(streams, form, verb.columns, await collect(client, operation, sent, limit));
  } else {
    const answer = await (client.call as AnyCall)(operation, sent);
    if (answer !== undefined) printOne(streams, form, verb.columns, answer);
  }
}

async function collect(client: Client, operation: Operation, sent: object, limit: number | undefined): Promise<readonly unknown[]> {
  const items: unknown[] = [];
  const query = { ...(sent as Filled).query, limit: Math.min(limit ?? MAX_PAGE_SIZE, MAX_PAGE_SIZE) };
  for await (const item of (client.items as AnyStream)(operation, { ...sent, query })) {
    items.push(item);
    if (items.length === limit) break;
  }
  return items;
}
