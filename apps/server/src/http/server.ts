// The one HTTP server of both planes: takes connections, tells the planes apart, bounds what runs at once, and stops gracefully.
// The distribution API goes straight from node:http to its handler, since nothing of Fastify is of use to it (decision 0002).
// Not here: what a plane does with a request.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Logger } from "../platform/log.ts";
import type { ReloadingKeyPair } from "../platform/tls.ts";
import { isServerFault, sendError } from "./error-response.ts";
import type { Semaphore } from "./limits.ts";
import type { RequestContext } from "./v2/handler.ts";

/** Answers one request. */
export type Handler = (request: IncomingMessage, response: ServerResponse, context: RequestContext) => Promise<void> | void;

/** How the server runs. */
export interface ServerOptions {
  /** Undefined: every address of the machine. */
  readonly host: string | undefined;
  readonly port: number;
  readonly keyPair: ReloadingKeyPair | undefined;
  readonly headerTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly maxConnections: number;
  readonly logger: Logger;
}

/** Who answers what. */
export interface Handlers {
  /** /v2 and below. */
  readonly v2: Handler;
  /** Exact paths outside both planes: /token, /healthz, /readyz, /metrics. */
  readonly paths: ReadonlyMap<string, Handler>;
  /** Everything else. */
  readonly rest: Handler;
}

/** What every request passes. */
export interface Entrance {
  readonly slots: Semaphore;
  readonly contextOf: (request: IncomingMessage) => RequestContext;
}

/** A listening server. */
export interface RunningServer {
  readonly port: number;
  /** Open connections. */
  connections(): number;
  /** Takes no new connection, lets what runs end, and after `graceMs` breaks off the rest. */
  stop(graceMs: number): Promise<void>;
}

/** Starts listening. */
export async function startServer(options: ServerOptions, handlers: Handlers, entrance: Entrance): Promise<RunningServer> {
  const { slots, contextOf } = entrance;

  async function dispatch(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const context = contextOf(request);
    const url = request.url ?? "/";
    if (!slots.tryEnter()) {
      try {
        await slots.enter();
      } catch (error) {
        sendError(request, response, error);
        return;
      }
    }
    try {
      if (url.startsWith("/v2/") || url === "/v2" || url.startsWith("/v2?")) {
        await handlers.v2(request, response, context);
      } else {
        const mark = url.indexOf("?");
        const handler = handlers.paths.get(mark === -1 ? url : url.slice(0, mark)) ?? handlers.rest;
        await handler(request, response, context);
      }
    } catch (error) {
      if (isServerFault(error)) options.logger.error({ err: error, requestId: context.id, url }, "request failed");
      sendError(request, response, error, { "x-request-id": context.id });
    } finally {
      slots.leave();
    }
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
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    void dispatch(request, response);
  };
  const server: Server =
    options.keyPair === undefined ? createServer(settings, listener) : createTlsServer({ ...settings, ...options.keyPair.current() }, listener);
  options.keyPair?.attach(server as never);
  server.maxConnections = options.maxConnections;
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === "ECONNRESET" || !socket.writable) socket.destroy();
    else socket.end(`HTTP/1.1 ${error.code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request"}\r\nconnection: close\r\n\r\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });

  return {
    port: (server.address() as AddressInfo).port,
    connections: () => sockets.size,
    async stop(graceMs) {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      const timer = setTimeout(() => server.closeAllConnections(), graceMs);
      // A connection that becomes idle meanwhile would keep its keep-alive time.
      const idle = setInterval(() => server.closeIdleConnections(), 200);
      await closed;
      clearTimeout(timer);
      clearInterval(idle);
    },
  };
}
