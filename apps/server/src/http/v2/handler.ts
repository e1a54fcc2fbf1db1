// The data plane's entrance, in order: parse, authenticate, run the route, answer errors, count. Not here: the routes themselves.
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { ProjectName } from "@berth/oci/reference";
import type { Authenticator } from "../../access/authenticate.ts";
import { challenge, respell, UnauthorizedError } from "../../access/challenge.ts";
import { placeCaller } from "../../access/network-rules.ts";
import type { Logger } from "../../platform/log.ts";
import type { OperationMeter, OperationMeters } from "../operation-metrics.ts";
import type { RequestSpan, SpanAttributes } from "../../platform/tracing.ts";
import { isSafe, type RefuseOtherSites } from "../browsers.ts";
import { isClientGone, leaveAlone } from "../client-gone.ts";
import { API_VERSION_HEADER, isServerFault, sendError } from "../error-response.ts";
import { recordCaller, recordError, type RequestRecord } from "../request-log.ts";
import type { Party } from "../preemption.ts";
import { parseRequest, type V2Kind, type V2Request } from "./parse-request.ts";
import type { V2Exchange, V2Routes } from "./routes.ts";

/** The parts that the handler needs. */
export interface V2HandlerParts {
  readonly authenticator: Authenticator;
  readonly routes: V2Routes;
  readonly operationMeters: OperationMeters;
  readonly logger: Logger;
  /** The absolute address of the token endpoint for a request. */
  readonly realmOf: (request: IncomingMessage) => string;
  readonly service: string;
  /** Why the challenge may point to a wrong address: a proxy is not trusted, or hides its name; undefined if nothing suggests that. */
  readonly forwardingProblem: (request: IncomingMessage) => string | undefined;
  readonly refuseOtherSites: RefuseOtherSites;
  /** The project of names with one segment; undefined if there is none. */
  readonly defaultProject: ProjectName | undefined;
  /** Called when a request turns out to be anonymous. */
  readonly noteAnonymous: (party: Party) => void;
}

/** Facts about a request beside the request itself. */
export interface RequestContext {
  readonly id: string;
  readonly remoteAddress: string;
  /** Facts for the log, filled in on the way. */
  readonly record: RequestRecord;
  /** What the request counts as under the limits. */
  readonly party: Party;
  /** The request's span, if there is tracing. */
  readonly span?: RequestSpan;
}

/** Answers one request below /v2. */
export type V2Handler = (request: IncomingMessage, response: ServerResponse, context: RequestContext) => Promise<void>;

/** The kinds that are counted: every route, and requests that could not be parsed. */
export const V2_OPERATIONS: readonly (V2Kind | "unparsed")[] = [
  "ping",
  "catalog",
  "tags",
  "manifest-get",
  "manifest-put",
  "manifest-delete",
  "blob-get",
  "blob-delete",
  "upload-begin",
  "mount",
  "upload-get",
  "upload-append",
  "upload-finish",
  "upload-cancel",
  "referrers",
  "unparsed",
];

/** The routes as patterns, for the names of spans. Source: distribution-spec, Endpoints. */
const ROUTE_PATTERNS: Readonly<Record<V2Kind, string>> = {
  ping: "/v2/",
  catalog: "/v2/_catalog",
  tags: "/v2/{repository}/tags/list",
  "manifest-get": "/v2/{repository}/manifests/{reference}",
  "manifest-put": "/v2/{repository}/manifests/{reference}",
  "manifest-delete": "/v2/{repository}/manifests/{reference}",
  "blob-get": "/v2/{repository}/blobs/{digest}",
  "blob-delete": "/v2/{repository}/blobs/{digest}",
  "upload-begin": "/v2/{repository}/blobs/uploads/",
  mount: "/v2/{repository}/blobs/uploads/",
  "upload-get": "/v2/{repository}/blobs/uploads/{id}",
  "upload-append": "/v2/{repository}/blobs/uploads/{id}",
  "upload-finish": "/v2/{repository}/blobs/uploads/{id}",
  "upload-cancel": "/v2/{repository}/blobs/uploads/{id}",
  referrers: "/v2/{repository}/referrers/{digest}",
};

function attributesOf(parsed: V2Request): SpanAttributes {
  return { "berth.operation": parsed.kind, "berth.repository": "repository" in parsed ? parsed.repository : undefined };
}

function explain(error: UnauthorizedError, problem: string | undefined): UnauthorizedError {
  return problem === undefined ? error : new UnauthorizedError({ ...error.options, message: `${error.message}; ${problem}` });
}

/** The repositories of a request, as its client spells them. */
function spellingsOf(parsed: V2Request | undefined): ReadonlyMap<string, string> {
  if (parsed === undefined || !("repository" in parsed)) return new Map();
  const named = parsed.kind === "mount" && parsed.from !== undefined ? [parsed.from, parsed] : [parsed];
  return new Map(named.map(({ repository, spelling }) => [repository, spelling]));
}

/** The answer to an anonymous client that asks whether this is a registry. */
const NOBODY = new UnauthorizedError();

/** Creates the handler. */
export function createV2Handler(parts: V2HandlerParts): V2Handler {
  const {
    authenticator,
    routes,
    operationMeters,
    logger,
    realmOf,
    service,
    forwardingProblem,
    defaultProject,
    noteAnonymous,
    refuseOtherSites,
  } = parts;
  const meters = new Map<string, OperationMeter>(V2_OPERATIONS.map((kind) => [kind, operationMeters(kind)]));
  const unparsed = meters.get("unparsed")!;

  function answerError(request: IncomingMessage, response: ServerResponse, context: RequestContext, kind: string, error: unknown): void {
    if (isClientGone(request, error)) {
      logger.debug({ requestId: context.id, kind }, "the client left");
      leaveAlone(response);
      return;
    }
    recordError(context.record, error, request);
    if (isServerFault(error))
      logger.error({ err: error, requestId: context.id, kind, url: request.url, method: request.method }, "request failed");
    const isUnauthorized = error instanceof RegistryError && error.code === "UNAUTHORIZED";
    sendError(request, response, error instanceof UnauthorizedError ? explain(error, forwardingProblem(request)) : error, {
      ...API_VERSION_HEADER,
      "x-request-id": context.id,
      ...(isUnauthorized ? { "www-authenticate": challenge({ realm: realmOf(request), service }, error) } : {}),
    });
  }

  return async (request, response, context) => {
    const { record } = context;
    let meter = unparsed;
    let kind = "unparsed";
    let parsed: V2Request | undefined;
    const { socket } = request;
    const readBefore = socket.bytesRead;
    const writtenBefore = socket.bytesWritten;
    try {
      parsed = parseRequest(request.method ?? "GET", request.url ?? "/", defaultProject);
      record.parsed = parsed;
      kind = parsed.kind;
      meter = meters.get(kind)!;
      meter.begin();
      context.span?.describe(ROUTE_PATTERNS[parsed.kind], attributesOf(parsed));
      const isRead = isSafe(request.method);
      if (!isRead) refuseOtherSites(request);
      const recognised = authenticator.authenticate(request.headers.authorization, context.remoteAddress);
      const known = recognised instanceof Promise ? await recognised : recognised;
      if (known.kind === "account") recordCaller(record, known);
      const caller = placeCaller(known, { requestId: context.id, address: context.remoteAddress });
      if (parsed.kind === "ping" && caller.kind === "anonymous" && caller.access === undefined) {
        // Every client asks this first, so it is answered without throwing.
        answerError(request, response, context, kind, NOBODY);
        return;
      }
      if (caller.kind === "anonymous") noteAnonymous(context.party);
      const route = routes[parsed.kind] as (exchange: V2Exchange) => Promise<void>;
      await route({ caller, parsed, request, response, id: context.id, party: context.party });
    } catch (error) {
      if (kind === "unparsed") meter.begin();
      answerError(request, response, context, kind, error instanceof UnauthorizedError ? respell(error, spellingsOf(parsed)) : error);
    } finally {
      record.receivedBytes = socket.bytesRead - readBefore;
      record.sentBytes = socket.bytesWritten - writtenBefore;
      meter.end(response.statusCode, (performance.now() - record.startedAt) / 1000, record.receivedBytes, record.sentBytes);
    }
  };
}
