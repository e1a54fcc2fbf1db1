// Which repositories and tags scopes reach, of robots and of members that are narrowed: patterns, pure. Not here: the rows (robot-store.ts), decisions (authorize.ts).
import type { RepositoryName } from "@berth/oci/reference";
import { projectOf } from "@berth/oci/reference";
import type { Action } from "./caller.ts";

/** A right of a robot: actions in the repositories that a pattern names. */
export interface RobotScope {
  /** A repository name; `PROJECT/PATH/*` for one more segment; `PROJECT/PATH/**` for any deeper; `**` for all, which only registry robots get. */
  readonly repositoryPattern: string;
  readonly actions: ReadonlySet<Action>;
  /** What tags a push or a deletion may move; undefined: any. */
  readonly tagPatterns?: readonly string[] | undefined;
}

/** Most scopes of one robot: they are all looked at on every request. */
export const MAX_ROBOT_SCOPES = 100;
/** Longest pattern: a repository name's limit. */
export const MAX_PATTERN_LENGTH = 255;

const SEGMENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const PATTERN = new RegExp(`^${SEGMENT}(?:/${SEGMENT})*/(?:${SEGMENT}|\\*|\\*\\*)$`);
/** The pattern of all repositories. */
export const EVERYTHING = "**";

/** Whether the text is a pattern that a robot of `projectName` may have; undefined asks for a robot of the registry. */
export function isRepositoryPattern(text: string, projectName: string | undefined): boolean {
  if (text.length > MAX_PATTERN_LENGTH) return false;
  if (text === EVERYTHING) return projectName === undefined;
  return PATTERN.test(text) && (projectName === undefined || text.startsWith(`${projectName}/`));
}

/** Whether a pattern names a repository. */
export function matchesPattern(pattern: string, repository: RepositoryName): boolean {
  if (pattern === EVERYTHING) return true;
  if (pattern.endsWith("/**")) return repository.startsWith(pattern.slice(0, -2));
  if (pattern.endsWith("/*")) {
    const folder = pattern.slice(0, -1);
    return repository.startsWith(folder) && !repository.includes("/", folder.length);
  }
  return pattern === repository;
}

/** What somebody may do in a repository. */
export interface RepositoryRights {
  readonly actions: ReadonlySet<Action>;
  /** Patterns of the only tags that an action may move; an action that is not in it may move any. Undefined: as if it were empty. */
  readonly tags: ReadonlyMap<Action, readonly string[]> | undefined;
  /** Set for what everybody may do, since the project is public. */
  readonly isByAll?: boolean;
}

/** What scopes allow in a repository; `within`: and no other actions. `projectName` is the robot's project; undefined for a robot of the registry. */
export function rightsOfScopes(
  scopes: readonly RobotScope[],
  projectName: string | undefined,
  repository: RepositoryName,
  within?: ReadonlySet<Action>,
): RepositoryRights {
  const actions = new Set<Action>();
  if (projectName !== undefined && projectOf(repository) !== projectName) return { actions, tags: undefined };
  const whole = new Set<Action>();
  const narrowed = new Map<Action, string[]>();
  for (const { repositoryPattern, actions: given, tagPatterns } of scopes) {
    if (repositoryPattern === EVERYTHING && projectName !== undefined) continue;
    if (!matchesPattern(repositoryPattern, repository)) continue;
    for (const action of given) {
      if (within !== undefined && !within.has(action)) continue;
      actions.add(action);
      if (tagPatterns === undefined || action === "pull") whole.add(action);
      else narrowed.set(action, [...(narrowed.get(action) ?? []), ...tagPatterns]);
    }
  }
  // One scope that has all tags is wider than any that are narrowed.
  for (const action of whole) narrowed.delete(action);
  return { actions, tags: narrowed.size === 0 ? undefined : narrowed };
}

/** The same of several sources together: an action's tags are bound where no source has it without a bound. */
export function joinRights(all: readonly RepositoryRights[]): RepositoryRights {
  const actions = new Set<Action>(all.flatMap((rights) => [...rights.actions]));
  const narrowed = new Map<Action, readonly string[]>();
  for (const action of actions) {
    const bounds = all.filter((rights) => rights.actions.has(action)).map((rights) => rights.tags?.get(action));
    if (!bounds.includes(undefined)) narrowed.set(action, [...new Set(bounds.flatMap((patterns) => patterns ?? []))]);
  }
  return { actions, tags: narrowed.size === 0 ? undefined : narrowed };
}

/** Projects in which scopes allow a pull of something: their names, or "all". */
export function pullableProjects(scopes: readonly RobotScope[], projectName: string | undefined): "all" | readonly string[] {
  const names = new Set<string>();
  for (const { repositoryPattern, actions } of scopes) {
    if (!actions.has("pull")) continue;
    if (repositoryPattern === EVERYTHING) {
      if (projectName === undefined) return "all";
      continue;
    }
    const name = repositoryPattern.slice(0, repositoryPattern.indexOf("/"));
    if (projectName === undefined || name === projectName) names.add(name);
  }
  return [...names];
}

/** Names from `from` to `through`, both included, in byte order. */
export interface NameRange {
  readonly from: string;
  readonly through: string;
}

/** Behind every name that begins as what it is put after: names are ASCII. */
const LAST = "\u{10ffff}";
/** The range of all names. */
export const EVERY_NAME: readonly NameRange[] = [{ from: "", through: LAST }];

/**
 * Where in the order of names those repositories lie that scopes let pull: ranges in order that do not overlap. What lies between them need
 * not be read; what lies in them may still be refused (`x/*` has no deeper names).
 */
export function pullableRanges(scopes: readonly RobotScope[]): readonly NameRange[] {
  const ranges = scopes
    .filter(({ actions }) => actions.has("pull"))
    .map(({ repositoryPattern: pattern }): NameRange => {
      const folder = pattern.replace(/\*+$/, "");
      return pattern === folder ? { from: pattern, through: pattern } : { from: folder, through: folder + LAST };
    })
    .toSorted((a, b) => (a.from < b.from ? -1 : 1));
  const joined: NameRange[] = [];
  for (const range of ranges) {
    const before = joined.at(-1);
    if (before === undefined || range.from > before.through) joined.push(range);
    else if (range.through > before.through) joined[joined.length - 1] = { from: before.from, through: range.through };
  }
  return joined;
}
