// The token endpoint for docker, containerd and similar clients: GET with Basic, or POST with a form. Not here: tokens themselves
// (access/).
// Source: https://distribution.github.io/distribution/spec/auth/token/ and .../oauth/
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { Authenticator } from "../access/authenticate.ts";
import type { Caller } from "../access/caller.ts";
import { placeCaller } from "../access/network-rules.ts";
import type { RefreshTokens } from "../access/refresh-tokens.ts";
import type { Tokens } from "../access/tokens.ts";
import type { Transfer } from "./transfer-rate.ts";
import type { Party } from "./preemption.ts";
import { bodyOf, inviteBody } from "./request-body.ts";
import type { RefuseOtherSites } from "./browsers.ts";
import { recordCaller, recordError } from "./request-log.ts";
import { sendJson } from "./send-json.ts";
import type { RequestContext } from "./v2/handler.ts";

/** A form holds a password, a scope and little else. */
const MAX_FORM_BYTES = 16 * 1024;

/** How long a form may take: it fits into a few packets, and its sender has not proved anything yet. */
const FORM_TIMEOUT_MS = 15_000;

/** What the endpoint needs. */
export interface TokenRouteParts {
  readonly authenticator: Authenticator;
  readonly tokens: Tokens;
  readonly refreshTokens: RefreshTokens;
  /** Whether `offline_token=true`, which docker sends with every login, gives a refresh token. `access_type=offline` always does. */
  readonly hasDockerRefreshTokens: boolean;
  readonly refuseOtherSites: RefuseOtherSites;
  /** Creates the transfer of one form, so that a client that drips it gives way while others wait. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  /** Counts a request as anonymous until its form has been read. */
  readonly noteAnonymous: (party: Party) => void;
  /** `FORM_TIMEOUT_MS` where it is not given. */
  readonly formTimeoutMs?: number;
}

/** The methods of the endpoint. */
export const TOKEN_METHODS: readonly string[] = ["GET", "POST"];

/** Answers `/token`, asked with one of `TOKEN_METHODS`. Errors: UNAUTHORIZED, CROSS_SITE_REFUSED, REQUEST_INVALID, REQUEST_TIMEOUT, TOOMANYREQUESTS, UNSUPPORTED. */
export async function answerToken(
  parts: TokenRouteParts,
  request: IncomingMessage,
  response: ServerResponse,
  { id, remoteAddress, record, party }: RequestContext,
): Promise<void> {
  const { authenticator, tokens, refreshTokens, hasDockerRefreshTokens, refuseOtherSites, noteAnonymous } = parts;
  const { authorization } = request.headers;
  record.operation = "token";
  // Also for a GET, because it asks for credentials.
  refuseOtherSites(request);
  let parameters: URLSearchParams;
  let caller: Caller;
  if (request.method === "GET") {
    parameters = new URL(request.url ?? "/", "http://registry").searchParams;
    caller = await authenticator.authenticate(authorization, remoteAddress);
  } else {
    // It got its place as a request that may bring credentials in its form. Until it has brought some, it counts as anonymous.
    if (authorization === undefined) noteAnonymous(party);
    parameters = await readSentForm(parts, request, response, party);
    caller = await callerOfForm(authenticator, parameters, { request, remoteAddress, record });
  }
  if (caller.kind === "account") recordCaller(record, caller);
  caller = placeCaller(caller, { requestId: id, address: remoteAddress });
  const token = await tokens.issueToken(caller, parameters.getAll("scope"));
  // The same one again: docker keeps what it got at the login, and would lose a new one whose answer never came.
  const kept = caller.via.kind === "refresh-token" ? (parameters.get("refresh_token") ?? undefined) : undefined;
  const isOffline = (hasDockerRefreshTokens && parameters.get("offline_token") === "true") || parameters.get("access_type") === "offline";
  const client = parameters.get("client_id") ?? "";
  const given = isOffline ? await refreshTokens.issue(caller, client, { requestId: id, address: remoteAddress }) : undefined;
  const refreshToken = kept ?? given;
  sendJson(response, 200, refreshToken === undefined ? token : { ...token, refresh_token: refreshToken });
}

/** Who sends a form: by a refresh token, or by a password in the form or in the header. Errors: UNAUTHORIZED, TOOMANYREQUESTS, UNSUPPORTED. */
async function callerOfForm(
  authenticator: Authenticator,
  parameters: URLSearchParams,
  { request, remoteAddress, record }: Pick<RequestContext, "remoteAddress" | "record"> & { readonly request: IncomingMessage },
): Promise<Caller> {
  const grantType = parameters.get("grant_type");
  if (grantType === "refresh_token") return authenticator.authenticateRefresh(parameters.get("refresh_token") ?? "", remoteAddress);
  // If it is not given, the form or the header still has a password.
  if (grantType !== null && grantType !== "password") {
    throw new RegistryError("UNSUPPORTED", {
      message: "grant_type must be password or refresh_token",
      detail: { grantType: grantType.slice(0, 100) },
      status: 400,
    });
  }
  const username = parameters.get("username") ?? "";
  if (username === "") return authenticator.authenticate(request.headers.authorization, remoteAddress);
  try {
    return await authenticator.authenticateSecret(username, parameters.get("password") ?? "", remoteAddress);
  } catch (error) {
    recordError(record, error, request, username);
    throw error;
  }
}

/** How a form is waited for. */
interface FormParts {
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  /** `FORM_TIMEOUT_MS` where it is not given. */
  readonly formTimeoutMs?: number | undefined;
}

/** Lets a client send the form that it has announced, and reads it. Errors: those of `readForm`. */
export function readSentForm(
  { transferOf, formTimeoutMs = FORM_TIMEOUT_MS }: FormParts,
  request: IncomingMessage,
  response: ServerResponse,
  party: Party,
): Promise<URLSearchParams> {
  inviteBody(request, response);
  party.transfer = transferOf("upload");
  return readForm(request, formTimeoutMs, party.transfer);
}

/** Reads a form. Errors: REQUEST_TIMEOUT, REQUEST_INVALID. */
async function readForm(request: IncomingMessage, timeoutMs: number, transfer: Transfer): Promise<URLSearchParams> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  const endsAt = performance.now() + timeoutMs;
  for await (const piece of bodyOf(request, { idleTimeoutMs: timeoutMs, transfer })) {
    // A byte every now and then is no pause, and would never end.
    if (performance.now() > endsAt) throw new RegistryError("REQUEST_TIMEOUT", { headers: { connection: "close" } });
    length += piece.length;
    if (length > MAX_FORM_BYTES) throw new RegistryError("REQUEST_INVALID", { message: "the form is too large", status: 413 });
    // Copied, because a piece is only valid until the next one.
    pieces.push(Buffer.from(piece));
  }
  return new URLSearchParams(Buffer.concat(pieces).toString("utf8"));
}
