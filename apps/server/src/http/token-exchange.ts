// The exchange of an ID token for a registry token: POST /oauth/token with a form. Not here: what becomes of the token (access/token-exchange.ts),
// docker's own token endpoint (token.ts). Source: RFC 8693, sections 2.1 and 2.2; errors as in RFC 6749, section 5.2, beside our own.
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import { placeCaller } from "../access/network-rules.ts";
import type { TokenExchange } from "../access/token-exchange.ts";
import type { Tokens } from "../access/tokens.ts";
import { errorAnswer } from "./error-response.ts";
import { recordCaller, recordError } from "./request-log.ts";
import { sendJson } from "./send-json.ts";
import { readSentForm, type TokenRouteParts } from "./token.ts";
import type { RequestContext } from "./v2/handler.ts";

/** What the endpoint needs. */
export interface ExchangeRouteParts extends Omit<TokenRouteParts, "authenticator" | "refreshTokens" | "hasDockerRefreshTokens"> {
  readonly tokenExchange: TokenExchange;
  readonly tokens: Tokens;
  /** The registry's name in tokens. */
  readonly service: string;
}

/** What it may be asked with. */
export const EXCHANGE_METHODS: readonly string[] = ["POST"];

const GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const SUBJECT_TYPES: readonly string[] = [JWT, "urn:ietf:params:oauth:token-type:id_token"];
/** Given once each. Source: RFC 6749, section 3.2. */
const SINGLE = ["grant_type", "subject_token", "subject_token_type", "requested_token_type", "client_id"];

/** The words of RFC 6749 and 8693. */
type OauthError = "invalid_request" | "unsupported_grant_type" | "invalid_target";

/** Answers `/oauth/token`. Errors, in both forms: UNAUTHORIZED as 400 `invalid_request`, REQUEST_INVALID, UNSUPPORTED, UNAVAILABLE. */
export async function answerExchange(
  parts: ExchangeRouteParts,
  request: IncomingMessage,
  response: ServerResponse,
  context: RequestContext,
): Promise<void> {
  const { tokens, refuseOtherSites, noteAnonymous } = parts;
  const { record, party } = context;
  record.operation = "token";
  refuseOtherSites(request);
  noteAnonymous(party);
  const form = await readSentForm(parts, request, response, party);
  let robot: string | undefined;
  try {
    checkForm(form, parts.service, request.headers.host);
    robot = form.get("client_id") ?? undefined;
    const found = await parts.tokenExchange.exchange(form.get("subject_token")!.trim(), robot === "oidc" ? undefined : robot, "exchange");
    recordCaller(record, found);
    const caller = placeCaller(found, { requestId: context.id, address: context.remoteAddress });
    const { access_token, expires_in } = await tokens.issueToken(caller, form.getAll("scope"));
    const { access } = await tokens.readToken(access_token);
    const scope = [...access]
      .filter(([, actions]) => actions.size > 0)
      .map(([name, actions]) => `repository:${name}:${[...actions].join(",")}`);
    sendJson(response, 200, {
      access_token,
      issued_token_type: ACCESS_TOKEN,
      token_type: "Bearer",
      expires_in,
      scope: scope.join(" "),
      // As docker's endpoint names it.
      token: access_token,
    });
  } catch (error) {
    if (!(error instanceof RegistryError) || error.status >= 500) throw error;
    recordError(record, error, request, robot ?? "oidc");
    const { body } = errorAnswer(error);
    sendJson(response, 400, { error: oauthErrorOf(error), error_description: error.message, ...(JSON.parse(body) as object) });
  }
}

function oauthErrorOf({ detail }: RegistryError): OauthError {
  return (detail as { readonly error?: OauthError } | undefined)?.error ?? "invalid_request";
}

function wrong(message: string, error: OauthError = "invalid_request"): RegistryError {
  return new RegistryError(error === "unsupported_grant_type" ? "UNSUPPORTED" : "REQUEST_INVALID", {
    message,
    detail: { error },
    status: 400,
  });
}

function checkForm(form: URLSearchParams, service: string, host: string | undefined): void {
  for (const name of SINGLE) if (form.getAll(name).length > 1) throw wrong(`${name} is given more than once`);
  if (form.get("grant_type") !== GRANT_TYPE)
    throw wrong(`grant_type must be ${GRANT_TYPE}; passwords and robots' secrets go to /token`, "unsupported_grant_type");
  if ((form.get("subject_token") ?? "") === "") throw wrong("subject_token must be an ID token");
  const type = form.get("subject_token_type");
  if (type === null || !SUBJECT_TYPES.includes(type)) throw wrong(`subject_token_type must be ${SUBJECT_TYPES.join(" or ")}`);
  if (![null, ACCESS_TOKEN, JWT].includes(form.get("requested_token_type"))) throw wrong(`requested_token_type must be ${ACCESS_TOKEN}`);
  if (form.has("actor_token")) throw wrong("nobody acts for another here: leave out actor_token");
  const here = new Set([service, host]);
  const elsewhere = form.getAll("audience").find((audience) => !here.has(audience.replace(/^https?:\/\//, "").replace(/\/$/, "")));
  if (elsewhere !== undefined)
    throw wrong(`audience must be ${service}, or left out: tokens count at this registry only`, "invalid_target");
}
