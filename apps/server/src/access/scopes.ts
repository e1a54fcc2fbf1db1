// Parses the `scope` parameter of the token endpoint. Pure. Not here: what is granted (tokens.ts).
import { findRepositoryName, type ProjectName, type RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";
import { ALL_ACTIONS } from "./roles.ts";

/** The scopes that a client requests. */
export interface RequestedScopes {
  /** Keyed by the client's spelling, which its token has to use. */
  readonly repositories: ReadonlyMap<string, RequestedRepository>;
  readonly catalog: boolean;
}

/** A repository in a client's spelling, and the requested actions. */
export interface RequestedRepository {
  readonly repository: RepositoryName;
  readonly actions: ReadonlySet<Action>;
}

/** Most repositories that one token names: a push with mounts names two or three. Each is looked up. */
export const MAX_SCOPES = 32;
/** Most characters of all names of one token: it must fit into a request's headers (16 KiB in Node). */
export const MAX_SCOPES_LENGTH = 4096;

/**
 * Parses scopes, several in one parameter or in several. It ignores unknown types and actions, invalid scopes, impossible names, and those
 * beyond a token's limit: a request for one of these is answered with the scope that it needs.
 * Source: https://distribution.github.io/distribution/spec/auth/scope/
 */
export function parseScopes(parameters: readonly string[], defaultProject: ProjectName | undefined): RequestedScopes {
  const repositories = new Map<string, { repository: RepositoryName; actions: Set<Action> }>();
  let catalog = false;
  let length = 0;
  for (const text of parameters.flatMap((parameter) => parameter.split(" "))) {
    // A name may contain a colon (a host with a port), so the type ends at the first one and the name at the last.
    const first = text.indexOf(":");
    const last = text.lastIndexOf(":");
    if (first <= 0 || last === first) continue;
    // `repository(plugin)` is a repository of a class that needs no other rights.
    const type = text.slice(0, first).replace(/\([a-z0-9]*\)$/, "");
    const name = text.slice(first + 1, last);
    const actions = text.slice(last + 1).split(",");
    if (type === "registry" && name === "catalog") catalog ||= actions.includes("*");
    const repository = type === "repository" ? findRepositoryName(name, defaultProject) : undefined;
    if (repository === undefined) continue;
    let asked = repositories.get(name);
    if (asked === undefined) {
      if (repositories.size === MAX_SCOPES || length + name.length > MAX_SCOPES_LENGTH) continue;
      length += name.length;
      repositories.set(name, (asked = { repository, actions: new Set() }));
    }
    for (const action of actions) {
      if (action === "*") for (const each of ALL_ACTIONS) asked.actions.add(each);
      else if (ALL_ACTIONS.has(action as Action)) asked.actions.add(action as Action);
    }
  }
  return { repositories, catalog };
}
