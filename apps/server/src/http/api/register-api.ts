// The control plane on Fastify: authenticates the caller, checks the input, runs the route, answers errors. Not here: the routes
// (features/).
import { ApiError } from "@berth/api/errors";
import { MAX_BODY_BYTES } from "@berth/api/limits";
import { buildOpenApi } from "@berth/api/openapi";
import { API_PREFIX, type Operation } from "@berth/api/operation";
import { isForAnonymous } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Authenticator } from "../../access/authenticate.ts";
import type { AccountCaller, Caller } from "../../access/caller.ts";
import { UnauthorizedError } from "../../access/challenge.ts";
import { placeCaller } from "../../access/network-rules.ts";
import { asReader, opensApi } from "../../access/personal-bound.ts";
import { apiBeyondToken } from "../../access/refusals.ts";
import { type ApiRoute, type Browser, partsOfAnswer, type Prove } from "../../features/api-route.ts";
import type { Logger } from "../../platform/log.ts";
import { basicChallenge, isSafe, type RefuseOtherSites } from "../browsers.ts";
import { browserName } from "../browser-name.ts";
import { formatSessionCookie, readSessionCookie } from "../cookies.ts";
import { isClientGone, leaveAlone } from "../client-gone.ts";
import { isServerFault, sendError as sendErrorAnswer } from "../error-response.ts";
import { inviteBody } from "../request-body.ts";
import { recordCaller, recordError, type RequestRecord } from "../request-log.ts";
import type { WriteRules } from "../write-piece.ts";
import { createEventPlaces } from "./event-places.ts";
import { type BodyBounds, boundsOf, COMMON_BOUNDS, readJson } from "./read-json.ts";
import { entityTag, isKnown, readPrecondition } from "./revisions.ts";
import { chooseStreamType, sendStream, type StreamAnswer } from "./stream-answer.ts";
import { createInputCheck } from "./validate.ts";

/** What the control plane needs. */
export interface ApiParts {
  readonly routes: readonly ApiRoute[];
  /** Checks that a caller has an operation's permission. */
  readonly prove: Prove;
  readonly authenticator: Authenticator;
  readonly logger: Logger;
  readonly refuseOtherSites: RefuseOtherSites;
  /** The same for requests that a session's cookie signs in. */
  readonly requireOwnPage: RefuseOtherSites;
  /** Whether the client comes by TLS, also behind a proxy. */
  readonly isSecure: (request: FastifyRequest) => boolean;
  /** The client's address, also behind trusted proxies. */
  readonly remoteAddressOf: (request: FastifyRequest) => string;
  /** The client is waited for until it has sent its body. */
  readonly awaitBody: (request: FastifyRequest, reply: FastifyReply) => void;
  /** The write rules for the client of a stream. */
  readonly writeRulesOf: (request: FastifyRequest) => WriteRules;
  /** Ends endless streams when the server is to stop. */
  readonly stopping: AbortSignal;
  /** The record of a request for the log. */
  readonly recordOf: (request: FastifyRequest) => RequestRecord;
  /** The program's version, for the OpenAPI document. */
  readonly version: string;
}

/** What the reader of bodies is told of an operation. */
interface RouteConfig {
  readonly bounds?: BodyBounds;
}

const TOKEN_REFUSED = "a registry token does not open the API; send Basic credentials";

/** Adds the control plane to a Fastify server, below `/api/v1`. */
export async function registerApi(app: FastifyInstance, parts: ApiParts): Promise<void> {
  await app.register(
    async (api) => {
      // Only JSON is accepted, whatever the server around it reads, and an empty body counts as none.
      api.removeAllContentTypeParsers();
      api.addContentTypeParser(
        "application/json",
        { parseAs: "buffer", bodyLimit: MAX_BODY_BYTES },
        async ({ routeOptions }: FastifyRequest, bytes: Buffer) =>
          readJson(bytes, (routeOptions.config as RouteConfig).bounds ?? COMMON_BOUNDS),
      );
      api.addHook("onRequest", async (request, reply) => {
        reply.header("cache-control", "no-store");
        // A browser that remembers Basic credentials sends them with requests that another site's page makes.
        if (!isSafe(request.method)) parts.refuseOtherSites(request.raw);
      });
      // It runs after every onRequest: a client that waits for 100 Continue has sent no byte of a request refused there.
      api.addHook("preParsing", async (request, reply) => {
        inviteBody(request.raw, reply.raw);
        parts.awaitBody(request, reply);
      });
      api.setErrorHandler((error, request, reply) => sendError(parts, error, request, reply));
      api.setNotFoundHandler((request, reply) => sendError(parts, new ApiError("OPERATION_UNKNOWN"), request, reply));

      const eventPlaces = createEventPlaces();
      const callers = new WeakMap<FastifyRequest, Recognised>();
      for (const { operation, handle } of parts.routes) {
        const check = createInputCheck(operation);
        api.route({
          method: operation.method,
          bodyLimit: operation.maxBodyBytes ?? MAX_BODY_BYTES,
          config: { bounds: boundsOf(operation.body) } satisfies RouteConfig,
          url: operation.path.replaceAll(/\{(\w+)\}/g, ":$1"),
          // Before a byte of the body is read.
          onRequest: async (request) => void callers.set(request, await recognise(parts, operation, request)),
          async handler(request, reply) {
            const input = check({ params: request.params, query: request.query, body: request.body });
            const record = parts.recordOf(request);
            // A created resource has its name in the body.
            const name = (input.body as { readonly name?: unknown } | undefined)?.name;
            if (typeof name === "string") record.target = { ...record.target, name };
            const recognised = callers.get(request)!;
            const grant = await parts.prove(operation.permission, recognised.caller, input.params);
            const precondition = readPrecondition(request.raw, operation);
            const { stream } = operation;
            // Checks that may refuse the request come before a place is taken, which is freed when the stream ends.
            const type = stream === undefined ? undefined : chooseStreamType(request.raw, stream);
            const lastEventId = stream === "events" ? lastEventIdOf(request) : undefined;
            const leave = stream === "events" ? eventPlaces.enter(recognised) : undefined;
            const signal = stream === undefined ? parts.stopping : endOf(reply, parts.stopping);
            const given = handle(input, { ...recognised, grant, precondition, lastEventId, signal });
            if (stream !== undefined && type !== undefined) {
              const answer = { kind: stream, item: operation.answer!, items: given as AsyncIterable<unknown>, status: operation.status };
              return answerStream(parts, request, reply, { type, answer }).finally(leave);
            }
            const { body, headers } = partsOfAnswer(await given);
            precondition.assertChecked();
            assertDeclared(operation, headers);
            return answerValue(operation, request, reply.code(operation.status).headers(headers), body);
          },
        });
      }

      const document = JSON.stringify(
        buildOpenApi(
          parts.routes.map(({ operation }) => operation),
          parts.version,
        ),
      );
      api.get("/openapi.json", async (_, reply) => reply.type("application/json").send(document));
    },
    { prefix: API_PREFIX },
  );
}

/** Aborted when the client has left, or the server stops. */
function endOf({ raw }: FastifyReply, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  raw.once("close", () => gone.abort());
  return AbortSignal.any([gone.signal, stopping]);
}

async function answerStream(
  parts: ApiParts,
  request: FastifyRequest,
  reply: FastifyReply,
  { type, answer }: { readonly type: string; readonly answer: StreamAnswer },
): Promise<FastifyReply> {
  // The framework does not send them with an answer that it does not send itself.
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) reply.raw.setHeader(name, value);
  reply.hijack();
  try {
    await sendStream(reply.raw, type, answer, parts.writeRulesOf(request));
  } catch (error) {
    await sendError(parts, error, request, reply);
  }
  return reply;
}

function answerValue(operation: Operation, request: FastifyRequest, reply: FastifyReply, body: unknown): FastifyReply {
  if (body === undefined || operation.answer === undefined) return reply.send();
  if (operation.revision !== undefined && body !== null) {
    const tag = entityTag(body);
    reply.header("etag", tag);
    if (operation.revision === "read" && isKnown(request.raw, tag)) return reply.code(304).send();
  }
  return reply.send(body);
}

/** Throws for undocumented headers: those would be a defect. */
function assertDeclared({ id, headers: declared = {} }: Operation, headers: Readonly<Record<string, string>>): void {
  const known = new Set(Object.keys(declared).map((name) => name.toLowerCase()));
  for (const name of Object.keys(headers)) if (!known.has(name)) throw new Error(`${id} does not declare the header ${name}`);
}

/** As long as any id that we send. */
const MAX_EVENT_ID_LENGTH = 64;

/** Where a client that lost its connection continues. Errors: FIELD_INVALID. */
function lastEventIdOf({ headers }: FastifyRequest): string | undefined {
  const id = headers["last-event-id"];
  if (id === undefined || id === "") return undefined;
  if (typeof id === "string" && id.length <= MAX_EVENT_ID_LENGTH && /^[\w.:-]+$/.test(id)) return id;
  throw new ApiError("FIELD_INVALID", { detail: [{ field: "Last-Event-ID", reason: "is not the id of an event" }] });
}

/** The caller, and its address. */
interface Recognised {
  readonly caller: Caller;
  readonly remoteAddress: string;
  readonly browser: Browser;
}

/** By the header, or else by a session. */
async function authenticate(
  { authenticator, requireOwnPage, isSecure }: ApiParts,
  { permission }: Operation,
  request: FastifyRequest,
  remoteAddress: string,
): Promise<Caller> {
  const { authorization } = request.headers;
  const secret = authorization === undefined ? readSessionCookie(request.raw, isSecure(request)) : undefined;
  if (secret === undefined) return authenticator.authenticate(authorization, remoteAddress);
  // The browser sends it with whatever page makes the request.
  if (!isSafe(request.method)) requireOwnPage(request.raw);
  try {
    return await authenticator.authenticateSession(secret, remoteAddress);
  } catch (error) {
    // Whose session has ended signs in again, and may see what everybody may.
    if (isForAnonymous(permission) && error instanceof UnauthorizedError) return authenticator.authenticate(undefined, remoteAddress);
    throw error;
  }
}

async function recognise(parts: ApiParts, operation: Operation, request: FastifyRequest): Promise<Recognised> {
  const { remoteAddressOf, recordOf } = parts;
  const remoteAddress = remoteAddressOf(request);
  const record = recordOf(request);
  record.operation = operation.id;
  record.isWrite = operation.method !== "GET";
  record.target = request.params as Record<string, string>;
  const caller: Caller = await authenticate(parts, operation, request, remoteAddress);
  if (caller.kind === "account") recordCaller(record, caller);
  // A token of the data plane does not count on the control plane.
  if (caller.access !== undefined) throw new UnauthorizedError({ message: TOKEN_REFUSED });
  // Before its body is read, not after.
  if (caller.kind === "anonymous" && !isForAnonymous(operation.permission)) throw new UnauthorizedError();
  // The same before its body. What only reads need not reach as far as what writes.
  const { personal } = caller as Partial<AccountCaller>;
  if (personal !== undefined && !opensApi(personal, !isSafe(operation.method))) throw apiBeyondToken(personal, true);
  const asked = personal !== undefined && isSafe(operation.method) ? { ...caller, personal: asReader(personal) } : caller;
  const browser: Browser = {
    name: browserName(request.headers["user-agent"]),
    sessionCookie: (secret, maxAgeSeconds) => formatSessionCookie(secret, maxAgeSeconds, parts.isSecure(request)),
  };
  return { caller: placeCaller(asked, { requestId: request.id, address: remoteAddress }), remoteAddress, browser };
}

async function sendError(parts: ApiParts, thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  // Answered as everywhere else, including the rest of a refused body.
  reply.hijack();
  if (isClientGone(request.raw, thrown)) {
    leaveAlone(reply.raw);
    return reply;
  }
  const error = fromFramework(thrown);
  recordError(parts.recordOf(request), error, request.raw);
  if (isServerFault(error))
    parts.logger.error({ err: error, requestId: request.id, url: request.url, method: request.method }, "request failed");
  const status = error instanceof RegistryError ? error.status : 500;
  sendErrorAnswer(request.raw, reply.raw, error, {
    ...(status === 401 ? basicChallenge(request.raw) : {}),
    // The rest of a refused body is not read.
    ...(status === 413 ? { connection: "close" } : {}),
  });
  return reply;
}

// Source: https://fastify.dev/docs/latest/Reference/Errors/
function fromFramework(thrown: unknown): unknown {
  if (thrown instanceof RegistryError) return thrown;
  switch ((thrown as { code?: unknown } | null)?.code) {
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new ApiError("MEDIA_TYPE_UNSUPPORTED", { cause: thrown });
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return new ApiError("BODY_TOO_LARGE", { cause: thrown, detail: { maxBytes: MAX_BODY_BYTES } });
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
    case "FST_ERR_CTP_EMPTY_TYPE":
      return new ApiError("BODY_INVALID", { cause: thrown });
    case "FST_ERR_BAD_URL":
    case "FST_ERR_MAX_PARAM_LENGTH":
      return new ApiError("OPERATION_UNKNOWN", { cause: thrown });
    default:
      return thrown;
  }
}
