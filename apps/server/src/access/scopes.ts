// The `scope` parameter of the token endpoint, read. Pure. Not here: what is granted of it (tokens.ts).
import { findRepositoryName, type ProjectName, type RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";
import { ALL_ACTIONS } from "./roles.ts";

/** What a client asks a token for. */
export interface RequestedScopes {
  /** By the name that the client wrote, which is what its token has to name. */
  readonly repositories: ReadonlyMap<string, RequestedRepository>;
  readonly catalog: boolean;
}

/** A repository in a client's spelling, and what it wants there. */
export interface RequestedRepository {
  readonly repository: RepositoryName;
  readonly actions: ReadonlySet<Action>;
}

/** Most repositories that one token names: a push with mounts names two or three. Each is looked up. */
export const MAX_SCOPES = 32;
/** Most characters of all names of one token: it must fit into a request's headers (16 KiB in Node). */
export const MAX_SCOPES_LENGTH = 4096;

/**
 * Reads scopes, several in one parameter or in several. Left out are unknown types and actions, what is no scope, names that no repository
 * can have, and what comes after as many as a token holds: a request for one of those is answered with the scope that it needs.
 * Source: https://distribution.github.io/distribution/spec/auth/scope/
 */
export function parseScopes(parameters: readonly string[], defaultProject: ProjectName | undefined): RequestedScopes {
  const repositories = new Map<string, { repository: RepositoryName; actions: Set<Action> }>();
  let catalog = false;
  let length = 0;
  for (const text of parameters.flatMap((parameter) => parameter.split(" "))) {
    // A name may hold a colon (a host with a port), so the type ends at the first one and the name at the last.
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
