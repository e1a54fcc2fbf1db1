// Spans for authentication and authorization, if tracing is on. Not here: the decisions (authenticate.ts, authorize.ts).
import type { Tracing } from "../platform/tracing.ts";
import type { Authenticator } from "./authenticate.ts";
import type { Authorizer } from "./authorize.ts";

/** Adds spans to authentication; they contain neither names nor secrets. */
export function traceAuthenticator(authenticator: Authenticator, tracing: Tracing): Authenticator {
  return {
    ...authenticator,
    authenticate: (header, remoteAddress) =>
      tracing.span("authenticate", "internal", { "berth.credentials": schemeOf(header) }, async () =>
        authenticator.authenticate(header, remoteAddress),
      ),
  };
}

/** Adds spans to authorization. */
export function traceAuthorizer(authorizer: Authorizer, tracing: Tracing): Authorizer {
  return {
    ...authorizer,
    authorize: (caller, action, repository) =>
      tracing.span(
        "authorize",
        "internal",
        { "berth.action": action, "berth.repository": repository, "berth.caller": caller.kind },
        async () => authorizer.authorize(caller, action, repository),
      ),
  };
}

function schemeOf(header: string | undefined): string {
  const scheme = header?.slice(0, 7).toLowerCase();
  return scheme === undefined || scheme === "" ? "none" : scheme.startsWith("basic ") ? "basic" : scheme === "bearer " ? "bearer" : "other";
}
