// Search: a walk over what the caller may read, in the order of names, one kind after the other, with a bound on what a page examines. Nothing that the
// caller may not read is looked at, so that neither answers nor their times tell of it. Not here: the statements (search-store.ts), the walk over names
// (distribution/readable-names.ts).
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import { type FoundView, SEARCH_KINDS, type SearchKind } from "@berth/api/search";
import { RegistryError } from "@berth/oci/errors";
import { findRepositoryName, parseRepositoryName, projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../../access/authorize.ts";
import { isBeyondToken } from "../../access/bounds.ts";
import type { Caller } from "../../access/caller.ts";
import type { Repositories } from "../../content/repositories.ts";
import type { ListPlaces } from "../../distribution/list-places.ts";
import { type Effort, effortOfRequest, LAST_CHARACTER, listReadableNames, isSpent } from "../../distribution/readable-names.ts";
import type { Database } from "../../platform/database/database.ts";
import type { Listed, PageRequest } from "../paging.ts";
import { listFound, listHolding } from "./search-store.ts";

/** What the rule needs. */
export interface SearchParts {
  readonly database: Database;
  readonly authorizer: Authorizer;
  readonly repositories: Repositories;
  readonly places: ListPlaces;
  /** The bound of one page's work; `effortOfRequest` if it is not given. */
  readonly newSearchEffort?: () => Effort;
}

/** What is searched for. */
export interface SearchRequest extends PageRequest {
  readonly text: string;
  readonly kind?: SearchKind;
}

/** Searches. Errors: those of the operation. */
export type Search = (caller: Caller, request: SearchRequest) => Promise<Listed<FoundView>>;

/** Where a walk goes on: a kind, behind a name, and within a repository behind a tag or a digest. */
interface Place {
  readonly kind: SearchKind;
  readonly name: string;
  readonly item: string;
}

/** What a walk is asked for. */
interface Asked {
  readonly caller: Caller;
  readonly place: Place;
  readonly wanted: number;
  readonly effort: Effort;
}

/** A part of a page, and where it goes on if the effort ended it. */
interface Walked {
  readonly found: FoundView[];
  readonly stoppedAt: string | undefined;
}

/** Names that are read at a time. */
const BATCH = 200;
/** Bare hexadecimal digits that are taken for a digest. */
const HEX = /^[0-9a-f]{6,}$/i;

/** Creates the rule. */
export function createSearch({ database, authorizer, repositories, places, newSearchEffort = effortOfRequest }: SearchParts): Search {
  async function walkProjects({ caller, place, wanted, effort }: Asked, text: string): Promise<Walked> {
    const found: FoundView[] = [];
    let last = place.name === "" ? "" : `${place.name}/`;
    for (;;) {
      const projects = await authorizer.listReadableProjects(caller, last, BATCH);
      effort.lookUps--;
      effort.names -= projects.length;
      for (const { name, sortKey } of projects) {
        last = sortKey;
        if (!name.includes(text) || isBeyondToken(caller, name)) continue;
        found.push({ kind: "project", project: name, repository: null, tag: null, digest: null, pushedAt: null });
        if (found.length >= wanted) return { found, stoppedAt: undefined };
      }
      if (projects.length < BATCH) return { found, stoppedAt: undefined };
      if (isSpent(effort)) return { found, stoppedAt: last.slice(0, -1) };
    }
  }

  /** The readable repositories behind a place, in batches; `take` says whether it wants more. Gives where the effort ended it. */
  async function walkNames(
    { caller, place, effort }: Asked,
    take: (names: readonly string[]) => boolean | Promise<boolean>,
  ): Promise<string | undefined> {
    let last = place.name;
    for (;;) {
      const { names, stoppedAt } = await listReadableNames({ authorizer, repositories }, caller, last, BATCH, effort);
      if (!(await take(names))) return undefined;
      if (stoppedAt !== undefined) return stoppedAt;
      if (names.length < BATCH) return undefined;
      last = names.at(-1)!;
      if (isSpent(effort)) return last;
    }
  }

  async function walkRepositories(asked: Asked, text: string): Promise<Walked> {
    const found: FoundView[] = [];
    const stoppedAt = await walkNames(asked, (names) => {
      for (const name of names)
        if (name.includes(text)) found.push({ kind: "repository", ...of(name), tag: null, digest: null, pushedAt: null });
      return found.length < asked.wanted;
    });
    return { found, stoppedAt };
  }

  async function walkItems(asked: Asked, kind: "tag" | "digest", prefix: string): Promise<Walked> {
    const { caller, place, wanted, effort } = asked;
    const found: FoundView[] = [];
    const through = prefix + LAST_CHARACTER;
    const takeFrom = async (names: readonly string[], behind: string): Promise<boolean> => {
      for (const { id, name } of await listHolding(database, kind, names, { prefix, through })) {
        effort.lookUps--;
        const rows = await listFound(database, kind, id, { range: { after: behind, prefix, through }, limit: wanted - found.length });
        for (const { tag, digest, pushedAt } of rows) found.push({ kind, ...of(name), tag, digest, pushedAt: pushedAt.toISOString() });
        if (found.length >= wanted) return false;
      }
      return true;
    };
    // The repository in which the page before ended, if the caller may still read it.
    if (place.item !== "") {
      const rights = await authorizer.allowed(caller, parseRepositoryName(place.name));
      if (rights.has("pull") && !(await takeFrom([place.name], place.item))) return { found, stoppedAt: undefined };
    }
    const stoppedAt = await walkNames(asked, async (names) => takeFrom(names, ""));
    return { found, stoppedAt };
  }

  async function walk(asked: Asked, text: string): Promise<Walked> {
    const { kind } = asked.place;
    if (kind === "project") return walkProjects(asked, text.toLowerCase());
    if (kind === "repository") return walkRepositories(asked, text.toLowerCase());
    const prefix = kind === "tag" ? text : digestPrefix(text);
    // No tag holds these.
    if (prefix === undefined || (kind === "tag" && /[:/]/.test(text))) return { found: [], stoppedAt: undefined };
    return walkItems(asked, kind, prefix);
  }

  return async (caller, { text, kind: only, after, limit = DEFAULT_PAGE_SIZE }) => {
    const effort = newSearchEffort();
    const kinds: readonly SearchKind[] = only === undefined ? SEARCH_KINDS : [only];
    const start = after === undefined ? undefined : readPlace(after, places, kinds);
    const items: FoundView[] = [];
    for (const kind of kinds.slice(start === undefined ? 0 : kinds.indexOf(start.kind))) {
      const place = start?.kind === kind ? start : { kind, name: "", item: "" };
      if (isSpent(effort)) return { items, next: hidden(places, kind, place.name) };
      const { found, stoppedAt } = await walk({ caller, place, wanted: limit + 1 - items.length, effort }, text);
      items.push(...found);
      if (items.length > limit) return { items: items.slice(0, limit), next: placeOf(items[limit - 1]!) };
      if (stoppedAt !== undefined) return { items, next: hidden(places, kind, stoppedAt) };
    }
    return { items, next: null };
  };
}

function of(repository: string): { readonly project: string; readonly repository: string } {
  return { project: projectOf(repository as RepositoryName), repository };
}

/** What digests begin with; undefined where the text is none. */
function digestPrefix(text: string): string | undefined {
  if (HEX.test(text)) return `sha256:${text.toLowerCase()}`;
  return /^sha(?:256|512):[0-9a-f]*$/.test(text) ? text : undefined;
}

/** Behind something that was shown: no name has a space. */
function placeOf({ kind, project, repository, tag, digest }: FoundView): string {
  return kind === "project" || kind === "repository"
    ? `${kind} ${repository ?? project}`
    : `${kind} ${repository} ${kind === "tag" ? tag : digest}`;
}

/** Behind something that was not, which may be a name that the caller may not read. */
function hidden(places: ListPlaces, kind: SearchKind, name: string): string {
  return `${kind} ${places.hide(name)}`;
}

/** Errors: PAGE_INVALID. */
function readPlace(after: string, places: ListPlaces, kinds: readonly SearchKind[]): Place {
  const [kind, name = "", item = "", ...more] = after.split(" ");
  const found = kinds.find((each) => each === kind);
  const isPlace = name.startsWith("~") ? item === "" : /^[a-z0-9._/-]{1,255}$/.test(name);
  const isItem = item === "" || (/^[A-Za-z0-9._:-]{1,160}$/.test(item) && findRepositoryName(name) !== undefined);
  if (found === undefined || !isPlace || !isItem || more.length > 0)
    throw new RegistryError("PAGE_INVALID", { detail: { after: after.slice(0, 100) } });
  return { kind: found, name: places.reveal(name), item };
}
