// Reads the files of `berth apply`: YAML or JSON, one document or many, each problem with its line. Not here: the format (@berth/api/apply).
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { APPLY_KINDS, APPLY_VERSION, type ApplyDocument } from "@berth/api/apply";
import { createValueCheck } from "@berth/api/check-value";
import type { Problem } from "@berth/api/problem";
import { type Document, isMap, isNode, LineCounter, parseAllDocuments } from "yaml";
import { Stopped, suggest } from "../misuse.ts";
import type { Streams } from "../streams.ts";

/** A document, and where it stands. */
export interface PlacedDocument {
  readonly document: ApplyDocument;
  /** FILE:LINE. */
  readonly place: string;
}

const CHECKS = Object.fromEntries(Object.entries(APPLY_KINDS).map(([kind, schema]) => [kind, createValueCheck(schema)]));
/** Aliases may make a small file large: so many are enough for anybody. */
const MAX_ALIASES = 100;

/** Reads files, folders (what ends in .yaml, .yml or .json in them) and `-`, the input. Errors: `Stopped`, with every problem. */
export async function readDocuments(paths: readonly string[], streams: Pick<Streams, "stdin">): Promise<readonly PlacedDocument[]> {
  const found: PlacedDocument[] = [];
  const problems: string[] = [];
  for (const path of (await Promise.all(paths.map(filesOf))).flat()) {
    const text = path === "-" ? await readAll(streams.stdin) : await readText(path);
    for (const each of parse(path === "-" ? "input" : path, text)) {
      if (typeof each === "string") problems.push(each);
      else found.push(each);
    }
  }
  problems.push(...findDoubles(found));
  if (problems.length > 0)
    throw new Stopped(`nothing was changed: the files are not right\n${problems.map((line) => `  ${line}`).join("\n")}`);
  if (found.length === 0) throw new Stopped("nothing was changed: the files have no document");
  return found;
}

async function filesOf(path: string): Promise<readonly string[]> {
  if (path === "-") return [path];
  const found = await stat(path).catch((error: Error) => {
    throw new Stopped(`${path} cannot be read: ${error.message}`);
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(?:ya?ml|json)$/.test(name)).toSorted();
  if (names.length === 0) throw new Stopped(`${path} has no file that ends in .yaml, .yml or .json`);
  return names.map((name) => join(path, name));
}

async function readText(path: string): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(path));
  } catch (error) {
    throw new Stopped(`${path} cannot be read: ${(error as Error).message}`);
  }
}

function parse(file: string, text: string): readonly (PlacedDocument | string)[] {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const placeOf = (offset: number): string => `${file}:${lines.linePos(offset).line}`;
  return (documents as readonly Document.Parsed[]).flatMap((document): readonly (PlacedDocument | string)[] => {
    const wrong = [...document.errors, ...document.warnings].map(({ pos, message }) => `${placeOf(pos[0])}: ${message}`);
    if (wrong.length > 0) return wrong;
    const place = placeOf(startOf(document));
    let value: unknown;
    try {
      value = document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      return [`${place}: ${(error as Error).message}`];
    }
    // An empty document, such as what stands behind a last ---.
    if (value === null) return [];
    const problems = check(value);
    if (problems.length === 0) return [{ document: value as ApplyDocument, place }];
    return problems.map(
      ({ field, reason }) => `${placeOf(offsetOf(document, field))}: ${field.replace(/^document\.?/, "") || "it"} ${reason}`,
    );
  });
}

function check(value: unknown): readonly Problem[] {
  const { kind, apiVersion } = (value ?? {}) as { readonly kind?: unknown; readonly apiVersion?: unknown };
  if (apiVersion !== APPLY_VERSION) return [{ field: "document.apiVersion", reason: `must be ${APPLY_VERSION}` }];
  const known = typeof kind === "string" && Object.hasOwn(CHECKS, kind) ? CHECKS[kind] : undefined;
  if (known === undefined) {
    const names = Object.keys(CHECKS);
    return [{ field: "document.kind", reason: `must be one of ${names.join(", ")}${suggest(String(kind), names)}` }];
  }
  const problems: Problem[] = [];
  known(value, "document", problems);
  return problems;
}

function startOf(document: Document): number {
  return document.contents !== null && isNode(document.contents) ? (document.contents.range?.[0] ?? 0) : 0;
}

/** Where the deepest part of a field's path stands that is there. */
function offsetOf(document: Document, field: string): number {
  const path = field.split(".").slice(1);
  for (let length = path.length; length > 0; length--) {
    const parent = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1).map(keyOf), true);
    // A name is where its line begins; a value may begin below it.
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isNode(key) && String(key) === path[length - 1]);
      if (pair !== undefined && isNode(pair.key)) return pair.key.range?.[0] ?? 0;
    }
    const node = document.getIn(path.slice(0, length).map(keyOf), true);
    if (isNode(node)) return node.range?.[0] ?? 0;
  }
  return startOf(document);
}

const keyOf = (part: string): string | number => (/^\d+$/.test(part) ? Number(part) : part);

/** What two documents say of the same thing, or one list twice. */
function findDoubles(documents: readonly PlacedDocument[]): readonly string[] {
  const seen = new Map<string, string>();
  const problems: string[] = [];
  function note(thing: string, place: string): void {
    const before = seen.get(thing);
    if (before === undefined) seen.set(thing, place);
    else problems.push(`${place}: ${thing} stands in ${before === place ? "this document" : before} as well`);
  }
  for (const { document, place } of documents) for (const thing of thingsIn(document)) note(thing, place);
  return problems;
}

/** What a document says something of, in words. */
function thingsIn(document: ApplyDocument): readonly string[] {
  if (document.kind === "Settings") return document.values.map(({ path }) => `setting ${path}`);
  if (document.kind === "Robot") return robotThings(`+${document.name}`, document);
  const thing = `${document.kind.toLowerCase()} ${document.name}`;
  if (document.kind === "Group") return [thing, ...(document.members ?? []).map((user) => `member ${user} of group ${document.name}`)];
  if (document.kind !== "Project") return [thing];
  const { name, members = [], groups = [], robots = [], webhooks = [], labels = [] } = document;
  return [
    thing,
    ...labels.map(({ key }) => `label ${key} of ${thing}`),
    ...members.flatMap((member) => rightThings(`member ${name}/${member.user}`, member.scopes)),
    ...groups.flatMap((group) => rightThings(`group ${name}/${group.group}`, group.scopes)),
    ...robots.flatMap((robot) => robotThings(`${name}+${robot.name}`, robot)),
    ...webhooks.map((webhook) => `webhook ${name}/${webhook.name}`),
  ];
}

type Scopes = readonly { readonly repositories: string }[] | null | undefined;

function rightThings(thing: string, scopes: Scopes): readonly string[] {
  return [thing, ...(scopes ?? []).map(({ repositories }) => `scope ${repositories} of ${thing}`)];
}

function robotThings(name: string, { scopes, trust = [] }: { readonly scopes: Scopes; readonly trust?: readonly { name: string }[] }) {
  return [...rightThings(`robot ${name}`, scopes), ...trust.map((rule) => `trust rule ${rule.name} of robot ${name}`)];
}
