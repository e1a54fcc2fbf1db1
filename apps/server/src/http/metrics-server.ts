// A separate port for monitoring inside the network: metrics and health, without credentials. It only runs where `metrics.listen` is set.
// Not here: what the pages hold (health.ts).
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { READ_ONLY } from "./allowed-methods.ts";

/** Answers one monitoring request. */
export type PageHandler = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/** A listening metrics server. */
export interface MetricsServer {
  readonly port: number;
  stop(): Promise<void>;
}

/** Starts listening. `onError` gets what a page's handler threw; the client gets 500. */
export async function startMetricsServer(
  address: { readonly host: string | undefined; readonly port: number },
  pages: ReadonlyMap<string, PageHandler>,
  onError: (error: unknown) => void,
): Promise<MetricsServer> {
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 30_000 }, (request, response) => {
    const page = pages.get((request.url ?? "/").split("?", 1)[0]!);
    if (page === undefined) {
      response.writeHead(404).end();
      return;
    }
    if (!READ_ONLY.includes(request.method ?? "")) {
      response.writeHead(405, { allow: READ_ONLY.join(", ") }).end();
      return;
    }
    Promise.resolve(page(request, response)).catch((error: unknown) => {
      onError(error);
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(address.port, address.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", onError);
  return {
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
