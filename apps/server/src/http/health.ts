// What an operator's machinery asks: does the process live, can it serve, what has it counted. Not here: what is counted (platform/metrics.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { Authenticator } from "../access/authenticate.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { PageHandler } from "./metrics-server.ts";
import type { Handler } from "./server.ts";

/** What health needs. */
export interface HealthParts {
  readonly database: Database;
  readonly store: BlobStore;
  readonly metrics: Metrics;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly logger: Logger;
}

/** The handlers. */
export interface Health {
  /** 200 as long as the process answers. */
  readonly live: PageHandler;
  /**
   * 200 when database and store can be used; 503 with what cannot, and while the process drains. A full disk or bucket is told, as `full`,
   * with 200: pulls and deletions are served, no other replica has more room, and without requests nobody could make any.
   */
  readonly ready: PageHandler;
  /** Prometheus's page, for administrators. */
  readonly metrics: Handler;
  /** The same for whoever reaches it: for a port of its own. */
  readonly openMetrics: PageHandler;
  /** What `ready` says, for the page of metrics. */
  state(): Promise<{ readonly isReady: boolean; readonly checks: Readonly<Record<string, string>> }>;
  /** From now on the process is not ready. */
  drain(): void;
}

/** How long one answer about a backend holds: probes of many load balancers must not become a load themselves. */
const PROBE_HOLDS_MS = 1000;
/** A backend that does not answer within this is not ready. */
const PROBE_TIMEOUT_MS = 3000;

/** Makes the handlers. */
export function createHealth({ database, store, metrics, authenticator, authorizer, logger }: HealthParts): Health {
  let isDraining = false;
  let last: { readonly at: number; readonly answer: Promise<Record<string, string>> } | undefined;

  // Only changes are worth a line: probes come every few seconds.
  const told = new Map<string, string>();
  function tell(part: string, outcome: string, error?: unknown): string {
    if (outcome !== (told.get(part) ?? "ok")) {
      if (outcome === "ok") logger.info({ part }, "can be used again");
      else logger.error({ part, outcome, err: error }, "cannot be used as it should");
      told.set(part, outcome);
    }
    return outcome;
  }

  async function outcomeOf(part: string, probe: () => Promise<void>): Promise<string> {
    try {
      await withTimeout(probe());
      return tell(part, "ok");
    } catch (error) {
      return tell(part, error instanceof RegistryError ? error.code : "UNAVAILABLE", error);
    }
  }

  async function probeAll(): Promise<Record<string, string>> {
    const [databaseState, storeState] = await Promise.all([
      outcomeOf("database", () => database.probe()),
      outcomeOf("store", () => store.probe()),
    ]);
    return { database: databaseState, store: storeState };
  }

  async function state(): Promise<{ isReady: boolean; checks: Record<string, string> }> {
    const now = performance.now();
    if (last === undefined || now - last.at > PROBE_HOLDS_MS) last = { at: now, answer: probeAll() };
    const checks = await last.answer;
    return { isReady: !isDraining && Object.values(checks).every((each) => each === "ok" || each === "STORAGE_FULL"), checks };
  }

  async function sendMetrics(response: ServerResponse): Promise<void> {
    const { contentType, page } = await metrics.render();
    response.writeHead(200, { "content-type": contentType, "content-length": Buffer.byteLength(page) });
    response.end(page);
  }

  return {
    live: (_request, response) => send(response, 200, { status: "ok" }),
    async ready(_request, response) {
      const { isReady, checks } = await state();
      const isFull = Object.values(checks).includes("STORAGE_FULL");
      const status = isDraining ? "draining" : !isReady ? "unavailable" : isFull ? "full" : "ok";
      send(response, isReady ? 200 : 503, { status, checks });
    },
    async metrics(request: IncomingMessage, response: ServerResponse, context) {
      await authorizer.authorizeAdministrator(await authenticator.authenticate(request.headers.authorization, context.remoteAddress));
      await sendMetrics(response);
    },
    openMetrics: (_request, response) => sendMetrics(response),
    state,
    drain() {
      isDraining = true;
    },
  };
}

function withTimeout(work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new RegistryError("UNAVAILABLE", { cause: new Error(`no answer within ${PROBE_TIMEOUT_MS} ms`) })),
      PROBE_TIMEOUT_MS,
    );
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
  });
  response.end(text);
}
