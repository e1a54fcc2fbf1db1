// The `scope` parameter of the token endpoint, read. Pure. Not here: what is granted of it (tokens.ts).
import { RegistryError } from "@berth/oci/errors";
import { MAX_REPOSITORY_NAME_LENGTH, parseRepositoryName, type RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";
import { ALL_ACTIONS } from "./roles.ts";

/** What a client asks a token for. */
export interface RequestedScopes {
  readonly repositories: ReadonlyMap<RepositoryName, ReadonlySet<Action>>;
  readonly catalog: boolean;
}

/** Most scopes of one request: a push with mounts names two or three. */
export const MAX_SCOPES = 32;
/** Most characters of all scopes of one request: the token that names them must fit into a request's headers (16 KiB in Node). */
export const MAX_SCOPES_LENGTH = 4096;

/**
 * Reads scopes, several in one parameter or in several. Unknown types and actions, and names that no repository can have, are left out.
 * Errors: REQUEST_INVALID. Source: https://distribution.github.io/distribution/spec/auth/scope/
 */
export function parseScopes(parameters: readonly string[]): RequestedScopes {
  const length = parameters.reduce((sum, parameter) => sum + parameter.length, 0);
  if (length > MAX_SCOPES_LENGTH)
    throw new RegistryError("REQUEST_INVALID", { message: `scopes are longer than ${MAX_SCOPES_LENGTH} characters` });
  const texts = parameters.flatMap((parameter) => parameter.split(" ")).filter((text) => text !== "");
  if (texts.length > MAX_SCOPES) throw new RegistryError("REQUEST_INVALID", { message: `more than ${MAX_SCOPES} scopes` });

  const repositories = new Map<RepositoryName, Set<Action>>();
  let catalog = false;
  for (const text of texts) {
    // A name may hold a colon (a host with a port), so the type ends at the first one and the name at the last.
    const first = text.indexOf(":");
    const last = text.lastIndexOf(":");
    if (first <= 0 || last === first) {
      throw new RegistryError("REQUEST_INVALID", {
        message: "a scope is not TYPE:NAME:ACTIONS",
        detail: { scope: text.slice(0, MAX_REPOSITORY_NAME_LENGTH) },
      });
    }
    // `repository(plugin)` is a repository of a class that needs no other rights.
    const type = text.slice(0, first).replace(/\([a-z0-9]*\)$/, "");
    const name = text.slice(first + 1, last);
    const actions = text.slice(last + 1).split(",");
    if (type === "registry" && name === "catalog") catalog ||= actions.includes("*");
    if (type !== "repository") continue;
    const repository = findRepositoryName(name);
    if (repository === undefined) continue;
    const asked = repositories.get(repository) ?? new Set<Action>();
    for (const action of actions) {
      if (action === "*") for (const each of ALL_ACTIONS) asked.add(each);
      else if (ALL_ACTIONS.has(action as Action)) asked.add(action as Action);
    }
    repositories.set(repository, asked);
  }
  return { repositories, catalog };
}

function findRepositoryName(text: string): RepositoryName | undefined {
  try {
    return parseRepositoryName(text);
  } catch (error) {
    if (error instanceof RegistryError && error.code === "NAME_INVALID") return undefined;
    throw error;
  }
}
