// The one HTTP server of both planes: accepts connections, routes requests to the planes, limits what runs at once, and stops gracefully.
// The distribution API goes straight from node:http to its handler, because Fastify has nothing that it needs (decision 0002). Not here:
// how a plane answers.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { DEFAULT_CIPHERS } from "node:tls";
import { RegistryError } from "@berth/oci/errors";
import type { Logger } from "../platform/log.ts";
import type { OperationMeter } from "./operation-metrics.ts";
import type { ReloadingKeyPair } from "../platform/tls.ts";
import type { RequestSpan } from "../platform/tracing.ts";
import { checkMethod, methodNotAllowed, READ_ONLY } from "./allowed-methods.ts";
import { basicChallenge, INERT } from "./browsers.ts";
import { isClientGone, leaveAlone } from "./client-gone.ts";
import { type Newest, watchConnections } from "./connections.ts";
import { drain } from "./draining.ts";
import { type EntranceRefusal, HEALTH_PATHS } from "./entrance-refusals.ts";
import { isServerFault, sendError } from "./error-response.ts";
import type { Places } from "./limits.ts";
import { createPlainOnTls } from "./plain-on-tls.ts";
import { answerAsBytes, errorOfParser } from "./malformed.ts";
import type { Transfer } from "./transfer-rate.ts";
import { recordError, type RequestLog } from "./request-log.ts";
import type { Party } from "./preemption.ts";
import { createUnreadAnswers } from "./unread-answers.ts";
import type { RequestContext, V2Handler } from "./v2/handler.ts";

/** Answers one request. */
export type Handler = (request: IncomingMessage, response: ServerResponse, context: RequestContext) => Promise<void> | void;

/** A page, and the methods that it takes. */
export interface Page {
  readonly methods: readonly string[];
  readonly answer: Handler;
}

/** How the server runs. */
export interface ServerOptions {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined;
  readonly port: number;
  readonly keyPair: ReloadingKeyPair | undefined;
  /** The time limit of a TLS handshake, of the headers, and of the rest of a refused body. */
  readonly headerTimeoutMs: number;
  /** A client that takes no byte of an answer for this long is disconnected. */
  readonly stallMs: number;
  readonly keepAliveMs: number;
  readonly maxConnections: number;
  readonly logger: Logger;
}

/** The handlers and their paths. */
export interface Handlers {
  /** /v2 and below; it answers its own errors. */
  readonly v2: V2Handler;
  /** Exact paths outside both planes: /token, /healthz, /readyz, /metrics. */
  readonly paths: ReadonlyMap<string, Page>;
  /** Everything else. */
  readonly rest: Handler;
  /** The meter of a path outside /v2 (which has its own meters); undefined for a path that is not counted. */
  meterOf(path: string): OperationMeter | undefined;
}

/** What every request passes through before its handler. */
export interface Entrance {
  readonly slots: Places;
  /** Creates the transfer of an answer that the client did not take at once. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  readonly contextOf: (request: IncomingMessage) => RequestContext;
  /** Refuses before anything else is looked at; undefined if nothing is to be. */
  readonly refusalOf?: EntranceRefusal | undefined;
  /** Undefined if no request is logged. */
  readonly requestLog?: RequestLog | undefined;
  /** Runs the handler in a span; undefined if there is no tracing. */
  readonly traced?:
    | ((
        request: IncomingMessage,
        response: ServerResponse,
        context: RequestContext,
        work: (span: RequestSpan) => Promise<void>,
      ) => Promise<void>)
    | undefined;
}

/** A listening server. */
export interface RunningServer {
  readonly port: number;
  /** Open connections. */
  connections(): number;
  /** The number of connections closed to make room for others. */
  connectionsClosed(): number;
  /**
   * Stops accepting connections, lets running requests finish, and breaks off the rest after `graceMs`. No request runs when it resolves.
   */
  stop(graceMs: number): Promise<void>;
}

/** How long a connection that has never carried a request stays open while the server stops: its first request may be under way. */
const FIRST_REQUEST_MS = 1_000;
/** How long requests whose connection is gone may take to end: they write a row or two. */
const SETTLE_MS = 5_000;
/** How long a connection that we have closed waits for the other side to close. */
const LINGER_MS = 2_000;

/**
 * Node.js's own list with AES-128 first, as clients written in Go and large sites have it: it uses SHA-256, which the processor
 * accelerates.
 */
const CIPHERS = ["TLS_AES_128_GCM_SHA256", ...DEFAULT_CIPHERS.split(":").filter((name) => name !== "TLS_AES_128_GCM_SHA256")].join(":");

/** Starts listening. */
export async function startServer(options: ServerOptions, handlers: Handlers, entrance: Entrance): Promise<RunningServer> {
  const { slots, transferOf, contextOf, requestLog, traced, refusalOf: refusalAt } = entrance;
  const unreadAnswers = createUnreadAnswers();

  function answer(request: IncomingMessage, response: ServerResponse, context: RequestContext): Promise<void> {
    const url = request.url ?? "/";
    // The data plane answers its errors itself.
    if (url.startsWith("/v2/") || url === "/v2" || url.startsWith("/v2?")) return handlers.v2(request, response, context);
    const mark = url.indexOf("?");
    const path = mark === -1 ? url : url.slice(0, mark);
    const found = handlers.paths.get(path);
    if (found !== undefined) context.span?.describe(path, {});
    response.setHeader("x-request-id", context.id);
    for (const [name, value] of Object.entries(INERT)) response.setHeader(name, value);
    const handler: Handler = found === undefined ? handlers.rest : onlyWith(found);
    const work = (): Promise<void> => answerWith(handler, request, response, context);
    const meter = handlers.meterOf(path);
    return meter === undefined ? work() : count(meter, request, response, context, work);
  }

  async function count(
    meter: OperationMeter,
    { socket }: IncomingMessage,
    response: ServerResponse,
    { record }: RequestContext,
    work: () => Promise<void>,
  ): Promise<void> {
    const { bytesRead, bytesWritten } = socket;
    meter.begin();
    await work();
    record.receivedBytes = socket.bytesRead - bytesRead;
    record.sentBytes = socket.bytesWritten - bytesWritten;
    meter.end(response.statusCode, (performance.now() - record.startedAt) / 1000, record.receivedBytes, record.sentBytes);
  }

  /** Answers errors that the handler throws. */
  async function answerWith(handler: Handler, request: IncomingMessage, response: ServerResponse, context: RequestContext): Promise<void> {
    const { url } = request;
    try {
      await handler(request, response, context);
    } catch (error) {
      if (isClientGone(request, error)) return leaveAlone(response);
      recordError(context.record, error, request);
      if (isServerFault(error)) options.logger.error({ err: error, requestId: context.id, url }, "request failed");
      const isUnauthorized = error instanceof RegistryError && error.code === "UNAUTHORIZED";
      sendError(request, response, error, {
        "x-request-id": context.id,
        ...(isUnauthorized ? basicChallenge(request) : {}),
      });
    }
  }

  function dispatch(request: IncomingMessage, response: ServerResponse, context: RequestContext, newest: Newest): Promise<void> {
    if (request.url !== undefined && !request.url.startsWith("/")) request.url = originForm(request.url);
    if (newest.response === response) newest.party = context.party;
    const refusal = refusalOf(request) ?? refusalAt?.(request, context.remoteAddress);
    return refusal === undefined ? answerOne(request, response, context) : refuse(request, response, context, refusal);
  }

  async function refuse(request: IncomingMessage, response: ServerResponse, context: RequestContext, error: RegistryError): Promise<void> {
    recordError(context.record, error, request);
    sendError(request, response, error, { "x-request-id": context.id, connection: "close" });
  }

  function answerOne(request: IncomingMessage, response: ServerResponse, context: RequestContext): Promise<void> {
    // Probes come every second and would make up most traces.
    if (HEALTH_PATHS.has(request.url ?? "/")) return answer(request, response, context);
    if (traced === undefined) return enter(request, response, context);
    return traced(request, response, context, (span) => enter(request, response, { ...context, span }));
  }

  async function enter(request: IncomingMessage, response: ServerResponse, context: RequestContext): Promise<void> {
    const { party } = context;
    if (!slots.tryEnter(party)) {
      try {
        await slots.enter(party);
      } catch (error) {
        recordError(context.record, error, request);
        sendError(request, response, error, { "x-request-id": context.id });
        return;
      }
    }
    let isIn = true;
    try {
      await answer(request, response, context);
      // Usually the kernel has the whole answer by now. Otherwise it waits in memory, and the request keeps its place.
      if (response.writableEnded && response.writableLength > 0 && !response.closed) {
        await taken(response, party, () => {
          if (isIn) slots.leave(party);
          isIn = false;
        });
      }
    } finally {
      if (isIn) slots.leave(party);
    }
  }

  /** Holds the place until the client has taken the answer, as far as the kernel knows, or is gone. */
  function taken(response: ServerResponse, party: Party, leave: () => void): Promise<void> {
    const transfer = transferOf("download");
    party.transfer = transfer;
    transfer.wait(performance.now(), () => response.destroy());
    const forget = unreadAnswers.hold(party, response, response.writableLength);
    // Node resets the timer after the answer.
    response.socket?.setTimeout(options.stallMs);
    return new Promise<void>((resolve) => {
      // The place is left before Node starts the next pipelined request, which needs one too.
      response.prependOnceListener("finish", leave);
      response.once("finish", resolve);
      response.once("close", resolve);
    }).finally(forget);
  }

  const settings = {
    // Bodies have an idle limit of their own; a whole request may take as long as a large layer on a slow line.
    requestTimeout: 0,
    headersTimeout: options.headerTimeoutMs,
    keepAliveTimeout: options.keepAliveMs,
    connectionsCheckingInterval: 5_000,
    noDelay: true,
    // Names of 255 characters and tokens with many scopes stay far below this. Node refuses more with 431.
    maxHeaderSize: 32 * 1024,
    // Node's own refusal has no body; `refusalOf` sends one.
    requireHostHeader: false,
  };
  let running = 0;
  let onLastEnded: (() => void) | undefined;
  const start = async (request: IncomingMessage, response: ServerResponse, newest: Newest): Promise<void> => {
    running++;
    let context: RequestContext | undefined;
    try {
      context = contextOf(request);
      await dispatch(request, response, context, newest);
    } catch (error) {
      // A defect in the handling of errors must cost one connection, not the process.
      options.logger.error({ err: error, url: request.url }, "request failed without an answer");
      sendError(request, response, error);
    } finally {
      drain(request, options.headerTimeoutMs);
      if (context !== undefined) requestLog?.end(request, response, context);
      running--;
      if (running === 0) onLastEnded?.();
    }
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const newest = connections.note(request.socket, response);
    // A pipelined request gets the connection, and a place, when the requests before it have been answered.
    if (response.socket !== null) void start(request, response, newest);
    else {
      response.once("socket", (socket: Socket) => {
        // Node normally stops the previous answer's timer when a request arrives, but this request arrived before that answer ended.
        socket.setTimeout(0);
        void start(request, response, newest);
      });
    }
  };
  const server: Server =
    options.keyPair === undefined
      ? createServer(settings, listener)
      : createTlsServer(
          { ...settings, handshakeTimeout: options.headerTimeoutMs, ciphers: CIPHERS, ...options.keyPair.current() },
          listener,
        );
  server.on("checkContinue", listener);
  // Other expectations cannot be met; the refusal has the form of all errors.
  server.on("checkExpectation", listener);
  // Node closes the connection of a CONNECT request without an answer.
  server.on("connect", (_, socket: Socket) => lingering(socket.end(answerAsBytes(methodNotAllowed(READ_ONLY)))));
  options.keyPair?.attach(server as never);
  server.maxConnections = options.maxConnections;
  // Accept all headers that fit into `maxHeaderSize`: Node would silently drop those after the thousandth.
  server.maxHeadersCount = 0;
  const connections = watchConnections(server, {
    max: options.maxConnections,
    isTls: options.keyPair !== undefined,
    onFull: (count) =>
      options.logger.warn(
        { connections: count },
        "http.maxConnections is reached: connections at rest are closed, then useless ones, then the slowest of the address that holds most",
      ),
  });
  const ending = new WeakSet<ServerResponse>();
  // The other side may have vanished and never close the connection; it gets a moment to read the answer.
  const lingering = (socket: Socket): void => {
    socket.setTimeout(LINGER_MS, () => socket.destroy());
  };
  const plainOnTls = options.keyPair === undefined ? undefined : createPlainOnTls(server, lingering);
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (plainOnTls?.answers(error, socket) === true) return;
    const response = connections.newestOf(socket)?.response;
    if (error.code === "ECONNRESET" || !socket.writable) {
      socket.destroy();
    } else if (response !== undefined && response.req.complete && !response.writableFinished) {
      // The invalid input follows a valid request that is being answered: no second status line may get into that answer.
      if (!ending.has(response)) response.once("finish", () => lingering(socket.end()));
      ending.add(response);
    } else {
      lingering(socket.end(answerAsBytes(errorOfParser(error.code))));
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });

  // A connection that could not be accepted, for want of a descriptor for example, is only one lost connection, and no reason to stop.
  server.on("error", (error) => options.logger.error({ err: error }, "a connection could not be accepted"));

  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections.open.size,
    connectionsClosed: () => connections.closed,
    async stop(graceMs) {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      // This closes all connections, also those that never finished the TLS handshake, which the HTTP server does not know.
      const timer = setTimeout(() => connections.open.forEach((socket) => socket.destroy()), graceMs);
      // A connection that was opened in advance and never used would delay the stop for the whole time of grace.
      const unused = setTimeout(
        () => {
          for (const socket of connections.carriers) if (connections.newestOf(socket) === undefined) socket.destroy();
        },
        Math.min(FIRST_REQUEST_MS, graceMs),
      );
      // A connection that becomes idle meanwhile would otherwise stay for its keep-alive time.
      const idle = setInterval(() => server.closeIdleConnections(), 200);
      await closed;
      clearTimeout(timer);
      clearTimeout(unused);
      clearInterval(idle);
      // Requests whose connections were closed still clean up, and need what the caller is about to close.
      if (running > 0) {
        await new Promise<void>((resolve) => {
          const enough = setTimeout(resolve, SETTLE_MS);
          onLastEnded = () => {
            clearTimeout(enough);
            resolve();
          };
        });
      }
    },
  };
}

/** The path of a request target in proxy form, `http://host/path`. Source: RFC 9112, section 3.2.2. */
function originForm(target: string): string {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, "");
  return path.startsWith("?") ? `/${path}` : path === "" ? "/" : path;
}

/** Restricts a page's handler to its methods. */
function onlyWith({ methods, answer }: Page): Handler {
  return (request, response, context) => {
    checkMethod(request.method, methods);
    return answer(request, response, context);
  };
}

/** Checks that hold for every request. Source: RFC 9112, section 3.2; RFC 9110, section 10.1.1. */
function refusalOf({ headers, rawHeaders, httpVersionMajor, httpVersionMinor }: IncomingMessage): RegistryError | undefined {
  const hosts = countHosts(rawHeaders);
  // Node keeps the first Host header; a proxy in front may have used another.
  if (hosts > 1) return new RegistryError("REQUEST_INVALID", { message: "the Host header is there twice" });
  if (hosts === 0 && (httpVersionMajor > 1 || httpVersionMinor > 0))
    return new RegistryError("REQUEST_INVALID", { message: "the Host header is missing" });
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== "100-continue")
    return new RegistryError("REQUEST_INVALID", { message: "only 100-continue can be expected", status: 417 });
  return undefined;
}

function countHosts(rawHeaders: readonly string[]): number {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!;
    // The usual spellings are compared first, because they are cheap.
    if (name.length === 4 && (name === "host" || name === "Host" || name.toLowerCase() === "host")) count++;
  }
  return count;
}
