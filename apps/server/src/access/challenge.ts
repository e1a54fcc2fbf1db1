// The 401 of the data plane: an error that knows which token would help, and the `WWW-Authenticate` header that says so. Not here: when it
// is thrown (authenticate.ts, authorize.ts).
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName } from "@berth/oci/reference";
import type { Action } from "./caller.ts";

/** Why a bearer token was not accepted. Source: RFC 6750, section 3.1. */
export type ChallengeReason = "invalid_token" | "insufficient_scope";

/** The details of a refusal besides its code. */
export interface UnauthorizedOptions {
  readonly scope?: string;
  readonly reason?: ChallengeReason;
  readonly message?: string;
  readonly cause?: unknown;
}

/** UNAUTHORIZED with what a token must name for the request to succeed. */
export class UnauthorizedError extends RegistryError {
  /** In the token specification's form, for example `repository:library/app:pull`; undefined if any authenticated caller would do. */
  readonly scope: string | undefined;
  readonly reason: ChallengeReason | undefined;
  readonly options: UnauthorizedOptions;

  constructor(options: UnauthorizedOptions = {}) {
    // Every client's first request gets this error, which is no defect to investigate: its stack would cost more than the rest of the
    // answer.
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super("UNAUTHORIZED", {
      ...(options.message === undefined ? {} : { message: options.message }),
      ...(options.cause === undefined ? {} : { cause: options.cause }),
      ...(options.scope === undefined ? {} : { detail: { scope: options.scope } }),
    });
    Error.stackTraceLimit = stackTraceLimit;
    this.scope = options.scope;
    this.reason = options.reason;
    this.options = options;
  }
}

/** The same refusal with repositories in the client's spelling: it requests a token with the text of the challenge. */
export function respell(error: UnauthorizedError, spellings: ReadonlyMap<string, string>): UnauthorizedError {
  if (error.scope === undefined) return error;
  const scope = error.scope.replaceAll(/(?<=^repository:| repository:)[^: ]+/g, (name) => spellings.get(name) ?? name);
  return scope === error.scope ? error : new UnauthorizedError({ ...error.options, scope });
}

/** The address of the token endpoint, and the registry's name. */
export interface ChallengeSettings {
  /** Absolute address of the token endpoint, as clients reach it. */
  readonly realm: string;
  /** The registry's name in tokens. */
  readonly service: string;
}

/** The scope that a token must name for an action. A push also reads existing content, so it needs both. */
export function scopeOf(action: Action, repository: RepositoryName): string {
  return `repository:${repository}:${action === "push" ? "pull,push" : action}`;
}

/** The scope that a token must name for listing repositories. */
export const CATALOG_SCOPE = "registry:catalog:*";

/**
 * The `WWW-Authenticate` header of a 401 of the data plane.
 * Source: https://distribution.github.io/distribution/spec/auth/token/ and RFC 6750, section 3.
 */
export function challenge(settings: ChallengeSettings, error?: unknown): string {
  let header = beginOf(settings);
  if (error instanceof UnauthorizedError) {
    if (error.scope !== undefined) header += `,scope="${quote(error.scope)}"`;
    // docker shows the description of a token's refusal, and no text of the body.
    if (error.reason !== undefined)
      header += `,error="${error.reason}",error_description="${error.message.replace(/[^\x20-\x7e]/g, "").replaceAll(/["\\]/g, "'")}"`;
  }
  return header;
}

// The last one is cached: clients reach most registries under one address.
let lastBegin = { realm: "", service: "", text: "" };

function beginOf({ realm, service }: ChallengeSettings): string {
  if (lastBegin.realm !== realm || lastBegin.service !== service) {
    lastBegin = { realm, service, text: `Bearer realm="${quote(realm)}",service="${quote(service)}"` };
  }
  return lastBegin.text;
}

// A quoted-string of RFC 9110: anything that could end it or the header is escaped or left out.
function quote(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "").replace(/["\\]/g, "\\$&");
}
