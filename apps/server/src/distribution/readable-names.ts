// Names of repositories that a caller may pull from: of a project, and of all, with a bound on what one request examines. Most of the names
// that are read are shown; but a robot's scopes may leave gaps, and projects may be empty. Not here: pages (lists.ts).
import type { RepositoryName } from "@berth/oci/reference";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller } from "../access/caller.ts";
import type { ReadableProject } from "../access/readable-projects.ts";
import type { Repositories } from "../content/repositories.ts";

/** The remaining budget of a request: look-ups, and names that they find. */
export interface Effort {
  lookUps: number;
  names: number;
}

/** Names, and where to continue if the budget was used up before enough names were found and before the list's end. */
export interface FoundNames {
  readonly names: string[];
  /** A key up to which all names were examined, itself included if it is a name; the reader may not be allowed to see it. */
  readonly stoppedAt: string | undefined;
}

/** For one request: a second on a busy PostgreSQL, a tenth of it on SQLite. */
const MAX_LOOK_UPS = 1000;
/** For one request: twice the largest page. */
const MAX_NAMES = 20_000;
/** The fewest names read at a time if scopes may leave gaps. */
const MIN_NAMES_ASKED = 100;
/** The projects read at a time. */
const PROJECT_BATCH = 100;

/** The budget of one request. */
export function effortOfRequest(): Effort {
  return { lookUps: MAX_LOOK_UPS, names: MAX_NAMES };
}

/** Whether nothing more may be looked at. */
export function isSpent({ lookUps, names }: Effort): boolean {
  return lookUps <= 0 || names <= 0;
}

/** The first `wanted` repositories after `last`, of all projects, that the caller may pull. */
export async function listReadableNames(
  { authorizer, repositories }: { readonly authorizer: Authorizer; readonly repositories: Repositories },
  caller: Caller,
  last: string,
  wanted: number,
  effort: Effort,
): Promise<FoundNames> {
  const names: string[] = [];
  // The project of `last` comes first again, after `last`: its sort key is the beginning of its repositories' names.
  const slash = last.indexOf("/");
  let after = slash === -1 ? last : beforeKey(last.slice(0, slash + 1));
  for (;;) {
    const projects = await authorizer.listReadableProjects(caller, after, PROJECT_BATCH);
    for (const project of projects) {
      const found = await listNamesIn(repositories, project, last, wanted - names.length, effort);
      names.push(...found.names);
      if (found.stoppedAt !== undefined || names.length >= wanted) return { names, stoppedAt: found.stoppedAt };
    }
    const end = projects.at(-1);
    if (end === undefined || projects.length < PROJECT_BATCH) return { names, stoppedAt: undefined };
    after = end.sortKey;
    effort.lookUps--;
    if (isSpent(effort)) return { names, stoppedAt: after + LAST_CHARACTER };
  }
}

/** The same of one project; a robot may see a part of it only. */
export async function listNamesIn(
  repositories: Repositories,
  { id, sortKey, reach }: ReadableProject,
  last: string,
  wanted: number,
  effort: Effort,
): Promise<FoundNames> {
  const readable: string[] = [];
  // A robot of the registry may reach many projects: only names in this one are read.
  const end = sortKey + LAST_CHARACTER;
  for (const range of reach.ranges) {
    if (range.through < last || range.through < sortKey || range.from > end) continue;
    const from = range.from < sortKey ? sortKey : range.from;
    let after = last < from ? beforeKey(from) : last;
    for (;;) {
      if (isSpent(effort)) return { names: readable, stoppedAt: after };
      // If a client wants one name at a time, the many that it may not see must not each be looked up separately.
      const asked = Math.min(Math.max(wanted - readable.length, MIN_NAMES_ASKED), effort.names);
      const names = await repositories.listNames(id, after, range.through, asked);
      effort.lookUps--;
      effort.names -= names.length;
      readable.push(...names.filter((name) => reach.mayPull(name as RepositoryName)));
      if (readable.length >= wanted) return { names: readable.slice(0, wanted), stoppedAt: undefined };
      if (names.length < asked) break;
      after = names.at(-1)!;
    }
  }
  return { names: readable, stoppedAt: undefined };
}

/** Sorts after every name with the same beginning: names are ASCII. */
export const LAST_CHARACTER = "\u{10ffff}";

/** A key just before `key`, so that a list "after" it begins with `key` itself. */
export function beforeKey(key: string): string {
  if (key === "") return "";
  return key.slice(0, -1) + String.fromCharCode(key.charCodeAt(key.length - 1) - 1) + LAST_CHARACTER;
}
