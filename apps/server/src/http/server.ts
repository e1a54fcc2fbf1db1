// The one HTTP server of both planes: takes connections, tells the planes apart, bounds what runs at once, and stops gracefully.
// The distribution API goes straight from node:http to its handler, since nothing of Fastify is of use to it (decision 0002).
// Not here: what a plane does with a request.
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

/** What is at a path, and the methods that it takes. */
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
  /** For a TLS handshake, for headers, and for the rest of a body that was refused. */
  readonly headerTimeoutMs: number;
  /** A client that takes nothing of an answer for so long is cut off. */
  readonly stallMs: number;
  readonly keepAliveMs: number;
  readonly maxConnections: number;
  readonly logger: Logger;
}

/** Who answers what. */
export interface Handlers {
  /** /v2 and below; answers what it throws itself. */
  readonly v2: V2Handler;
  /** Exact paths outside both planes: /token, /healthz, /readyz, /metrics. */
  readonly paths: ReadonlyMap<string, Page>;
  /** Everything else. */
  readonly rest: Handler;
  /** Who counts a path outside /v2, which counts its own; undefined where nobody does. */
  meterOf(path: string): OperationMeter | undefined;
}

/** What every request passes. */
export interface Entrance {
  readonly slots: Places;
  /** Makes the transfer of an answer that the client did not take at once. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  readonly contextOf: (request: IncomingMessage) => RequestContext;
  /** Undefined where no request gets a line in the log. */
  readonly requestLog?: RequestLog | undefined;
  /** Runs the answer in a span; undefined where there are no traces. */
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
  /** Connections that were closed to make room for others. */
  connectionsClosed(): number;
  /** Takes no new connection, lets what runs end, and after `graceMs` breaks off the rest; no request runs when it resolves. */
  stop(graceMs: number): Promise<void>;
}

/** What answers while the server is full: a probe that is refused then makes the orchestrator kill a busy server. */
const UNBOUNDED_PATHS: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);
/** How long a connection that has never carried a request may stay while the server stops: its first request may be under way. */
const FIRST_REQUEST_MS = 1_000;
/** How long requests without a connection may take to end: they write a row or two. */
const SETTLE_MS = 5_000;
/** How long a connection that we ended waits for the other side's end. */
const LINGER_MS = 2_000;

/**
 * Node.js's own list with AES-128 in front, as clients written in Go and servers of large sites have it: its SHA-256 is done by the processor.
 */
const CIPHERS = ["TLS_AES_128_GCM_SHA256", ...DEFAULT_CIPHERS.split(":").filter((name) => name !== "TLS_AES_128_GCM_SHA256")].join(":");

/** Starts listening. */
export async function startServer(options: ServerOptions, handlers: Handlers, entrance: Entrance): Promise<RunningServer> {
  const { slots, transferOf, contextOf, requestLog, traced } = entrance;
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

  /** What the handler throws is answered. */
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
    const refusal = refusalOf(request);
    if (refusal !== undefined) return refuse(request, response, context, refusal);
    return answerOne(request, response, context);
  }

  async function refuse(request: IncomingMessage, response: ServerResponse, { id }: RequestContext, error: RegistryError): Promise<void> {
    sendError(request, response, error, { "x-request-id": id, connection: "close" });
  }

  function answerOne(request: IncomingMessage, response: ServerResponse, context: RequestContext): Promise<void> {
    // Probes come every second and would be most of all traces.
    if (UNBOUNDED_PATHS.has(request.url ?? "/")) return answer(request, response, context);
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
      // Nearly always the kernel has all of it by now. Else it lies in memory, and keeps its place.
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

  /** Waits until a client has taken its answer, as far as the kernel knows, or is gone. */
  function taken(response: ServerResponse, party: Party, leave: () => void): Promise<void> {
    const transfer = transferOf("download");
    party.transfer = transfer;
    transfer.wait(performance.now(), () => response.destroy());
    const forget = unreadAnswers.hold(party, response, response.writableLength);
    // Node sets it anew for what follows the answer.
    response.socket?.setTimeout(options.stallMs);
    return new Promise<void>((resolve) => {
      // Before Node begins with a request that was pipelined behind this one, which wants a place too.
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
    // Names of 255, tokens with many scopes: clients stay far below, and Node refuses more with 431.
    maxHeaderSize: 32 * 1024,
    // Node's own refusal has no body: see refusalOf.
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
      // A defect in answering must cost one connection, not the process.
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
    // A pipelined request gets the connection, and a place among those in flight, when the ones before it have been answered.
    if (response.socket !== null) void start(request, response, newest);
    else {
      response.once("socket", (socket: Socket) => {
        // Node ends the timer of the answer before when a request comes, which this one did too early.
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
  // What else may be expected we cannot give, and say so as all errors.
  server.on("checkExpectation", listener);
  // Node closes the connection of whoever wants a tunnel, without a word.
  server.on("connect", (_, socket: Socket) => lingering(socket.end(answerAsBytes(methodNotAllowed(READ_ONLY)))));
  options.keyPair?.attach(server as never);
  server.maxConnections = options.maxConnections;
  // All that fit into `maxHeaderSize`: Node would drop those behind the thousandth without a word, and what they say with them.
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
  // The other side's end may never come, where it has vanished; it gets a moment to read the last words.
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
      // What is wrong follows a request that is right and is being answered: no second status line may get into that answer.
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

  // A connection that could not be accepted, for want of a descriptor say, is one connection lost, and no reason to end.
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
      // All, also those that never got past the TLS handshake, of which the HTTP server knows nothing.
      const timer = setTimeout(() => connections.open.forEach((socket) => socket.destroy()), graceMs);
      // One that was opened in advance and never used would hold up the stop for the whole time of grace.
      const unused = setTimeout(
        () => {
          for (const socket of connections.carriers) if (connections.newestOf(socket) === undefined) socket.destroy();
        },
        Math.min(FIRST_REQUEST_MS, graceMs),
      );
      // A connection that becomes idle meanwhile would keep its keep-alive time.
      const idle = setInterval(() => server.closeIdleConnections(), 200);
      await closed;
      clearTimeout(timer);
      clearTimeout(unused);
      clearInterval(idle);
      // Requests whose connections were cut still put things in order, for which they need what the caller is about to close.
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

/** The path of a request target that a client wrote as to a proxy, `http://host/path`. Source: RFC 9112, section 3.2.2. */
function originForm(target: string): string {
  const path = target.replace(/^https?:\/\/[^/?#]*/i, "");
  return path.startsWith("?") ? `/${path}` : path === "" ? "/" : path;
}

/** The handler of a page, for the methods that it takes. */
function onlyWith({ methods, answer }: Page): Handler {
  return (request, response, context) => {
    checkMethod(request.method, methods);
    return answer(request, response, context);
  };
}

/** What no request may lack or ask for, whatever it wants. Source: RFC 9112, section 3.2; RFC 9110, section 10.1.1. */
function refusalOf({ headers, rawHeaders, httpVersionMajor, httpVersionMinor }: IncomingMessage): RegistryError | undefined {
  const hosts = countHosts(rawHeaders);
  // Node keeps the first one; whoever stands in front may have gone by another.
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
    // As nearly everybody writes it, or otherwise.
    if (name.length === 4 && (name === "host" || name === "Host" || name.toLowerCase() === "host")) count++;
  }
  return count;
}
