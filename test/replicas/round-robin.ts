// A plain HTTP proxy that gives each request to the next replica, over kept-alive connections, as load balancers do: a replica that refuses
// connections is skipped; one that does not answer costs that request a 504 and is skipped for a while; so is one that reports itself as
// unready. Not here: the replicas (replicas.ts).
import { once } from "node:events";
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { pipeline } from "node:stream";
import type { AddressInfo } from "node:net";
import { freePort } from "../tools/processes.ts";

/** A running proxy. */
export interface RoundRobin {
  /** `127.0.0.1:PORT`, as it opens an image reference. */
  readonly host: string;
  readonly origin: string;
  /** How many requests each replica was given, in the order of the replicas. */
  readonly given: readonly number[];
  stop(): Promise<void>;
}

export interface RoundRobinOptions {
  /** `127.0.0.1:PORT` of each replica. */
  readonly hosts: readonly string[];
  /** How long a replica may be silent. Tests that stop replicas set it low, so that clients continue. */
  readonly silenceMs: number;
  /** Probes each replica's readiness every second, and skips unready ones, as docs/guide/deploy.md recommends. */
  readonly asksReady?: boolean;
}

/** How long a silent replica is skipped; nginx's `fail_timeout` has this default. */
const REST_MS = 10_000;
const ASK_EVERY_MS = 1_000;

/** Starts the proxy on a port of its own. */
export async function startRoundRobin({ hosts, silenceMs, asksReady = false }: RoundRobinOptions): Promise<RoundRobin> {
  // `scheduling` fifo: every kept connection is used, as with a pool of a real proxy.
  const agent = new Agent({ keepAlive: true, maxSockets: 64, scheduling: "fifo" });
  const given = hosts.map(() => 0);
  const restsUntil = hosts.map(() => 0);
  const isReady = hosts.map(() => true);
  let turn = 0;

  /** The next replica that is not skipped; any, if all are. */
  function next(): number {
    for (let tries = 0; tries < hosts.length; tries++) {
      const at = turn++ % hosts.length;
      if (restsUntil[at]! <= performance.now() && isReady[at]!) return at;
    }
    return turn++ % hosts.length;
  }

  function answer(response: ServerResponse, status: number, text: string): void {
    if (response.headersSent) response.destroy();
    else response.writeHead(status, { "content-type": "text/plain", connection: "close" }).end(text);
  }

  function forward(request: IncomingMessage, response: ServerResponse, triesLeft: number): void {
    const at = next();
    const [host, port] = hosts[at]!.split(":");
    const upstream = httpRequest({
      agent,
      host,
      port,
      method: request.method,
      path: request.url,
      headers: {
        ...request.headers,
        "x-forwarded-for": request.socket.remoteAddress,
        "x-forwarded-proto": "http",
        "x-forwarded-host": request.headers.host,
      },
    });
    upstream.setTimeout(silenceMs, () => upstream.destroy(Object.assign(new Error("silent"), { code: "SILENT" })));
    upstream.once("response", (reply) => {
      given[at]!++;
      // `rawHeaders`, so that repeated ones stay as they are.
      response.writeHead(reply.statusCode ?? 502, reply.rawHeaders);
      pipeline(reply, response, (error) => {
        if (error !== null && error !== undefined) response.destroy();
      });
    });
    upstream.on("error", (error: NodeJS.ErrnoException) => {
      // Nothing of the request has been read yet: the next replica may get it.
      if (error.code === "ECONNREFUSED" && triesLeft > 0) {
        request.unpipe(upstream);
        forward(request, response, triesLeft - 1);
        return;
      }
      if (error.code === "SILENT") restsUntil[at] = performance.now() + REST_MS;
      answer(response, error.code === "SILENT" ? 504 : 502, error.message);
    });
    response.once("close", () => upstream.destroy());
    // Piped only over an established connection, so that a refused one has taken nothing of the body.
    upstream.once("socket", (socket) => {
      if (socket.connecting) socket.once("connect", () => request.pipe(upstream));
      else request.pipe(upstream);
    });
  }

  const asking = setInterval(() => {
    if (!asksReady) return;
    for (const [at, host] of hosts.entries()) {
      fetch(`http://${host}/readyz`, { signal: AbortSignal.timeout(silenceMs) }).then(
        async (reply) => {
          await reply.body?.cancel();
          isReady[at] = reply.status === 200;
        },
        () => {
          isReady[at] = false;
        },
      );
    }
  }, ASK_EVERY_MS);

  // The proxy never closes a kept connection: a client that sends its next request over it at that moment would see an error.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 0 }, (request, response) =>
    forward(request, response, hosts.length - 1),
  );
  server.listen(await freePort(), "127.0.0.1");
  await once(server, "listening");
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    origin: `http://${host}`,
    given,
    async stop() {
      clearInterval(asking);
      server.close();
      server.closeAllConnections();
      agent.destroy();
      await once(server, "close");
    },
  };
}
