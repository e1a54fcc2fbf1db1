// What an operator's machinery asks: does the process live, can it serve, what has it counted. Not here: what is counted (platform/metrics.ts).
import type { ServerResponse } from "node:http";
import { isReported, RegistryError } from "@berth/oci/errors";
import type { Authenticator } from "../access/authenticate.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import type { StoreSightings } from "../content/store-sightings.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { PageHandler } from "./metrics-server.ts";
import type { Handler } from "./server.ts";

/** What health needs. */
export interface HealthParts {
  readonly database: Database;
  readonly store: BlobStore;
  /** What other replicas report about the store; undefined where there can be none. */
  readonly sightings: StoreSightings | undefined;
  /** The registry's time, by which all replicas go. */
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** How long one answer about a backend holds; for tests. */
  readonly probeHoldsMs?: number;
}

/** What is known of the process's readiness. */
export interface Readiness {
  readonly isReady: boolean;
  /** Ready without the store: nobody else could do better. */
  readonly isDegraded: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** The handlers. */
export interface Health {
  /** 200 as long as the process answers. */
  readonly live: PageHandler;
  /**
   * 200 when database and store can be used; 503 with what cannot, and while the process drains. A full disk or bucket is told, as `full`,
   * with 200: pulls and deletions are served, no other replica has more room, and without requests nobody could make any. A store out of reach
   * is told, as `degraded`, with 200 as well, as long as no other replica is seen to reach it: manifests and small blobs are served here, and
   * where all replicas said 503, nothing would be.
   */
  readonly ready: PageHandler;
  /** Prometheus's page, for whoever reaches it: for a port of its own. */
  readonly openMetrics: PageHandler;
  /** What `ready` says, for the page of metrics. */
  state(): Promise<Readiness>;
  /** From now on the process is not ready. */
  drain(): void;
}

/** How long one answer about a backend holds: probes of many load balancers must not become a load themselves. */
const PROBE_HOLDS_MS = 1000;
/** A backend that does not answer within this is not ready. */
const PROBE_TIMEOUT_MS = 3000;

/** What was found by one look at the backends, begun at `at`. */
interface Look {
  readonly at: number;
  readonly database: string;
  readonly store: string;
  /** The store is out of reach for this replica alone. */
  readonly isBeaten: boolean;
}

const canServe = (outcome: string): boolean => outcome === "ok" || outcome === "STORAGE_FULL";

/** Makes the handlers. */
export function createHealth(parts: HealthParts): Health {
  const { database, store, sightings, clock, metrics, logger, probeHoldsMs = PROBE_HOLDS_MS } = parts;
  let isDraining = false;
  let last: { readonly at: number; readonly look: Promise<Look> } | undefined;
  let storeFailedAt: number | undefined;

  // Only changes are worth a line: probes come every few seconds.
  const told = new Map<string, string>();
  function report(part: string, outcome: string, error?: unknown): string {
    if (outcome !== (told.get(part) ?? "ok")) {
      if (outcome === "ok") logger.info({ part }, "can be used again");
      else if (!isReported(error)) logger.error({ part, outcome, err: error }, "cannot be used as it should");
      told.set(part, outcome);
    }
    return outcome;
  }

  async function outcomeOf(part: string, probe: () => Promise<void>): Promise<string> {
    try {
      await withTimeout(probe());
      return report(part, "ok");
    } catch (error) {
      return report(part, codeOf(error), error);
    }
  }

  async function probeAll(): Promise<Look> {
    const at = clock.now();
    const [databaseState, storeState] = await Promise.all([
      outcomeOf("database", () => database.probe()),
      outcomeOf("store", () => store.probe()),
    ]);
    if (storeState !== "UNAVAILABLE") {
      storeFailedAt = undefined;
      return { at, database: databaseState, store: storeState, isBeaten: false };
    }
    const now = clock.now();
    // The clock may have been set back since.
    storeFailedAt = Math.min(storeFailedAt ?? now, now);
    const failedAt = storeFailedAt;
    try {
      const isBeaten = canServe(databaseState) && (await sightings?.wasSeenSince(failedAt)) === true;
      return { at, database: databaseState, store: storeState, isBeaten };
    } catch (error) {
      return { at, database: report("database", codeOf(error), error), store: storeState, isBeaten: false };
    }
  }

  async function lookNow(): Promise<Look> {
    const now = performance.now();
    if (last === undefined || now - last.at >= probeHoldsMs) last = { at: now, look: probeAll() };
    return last.look;
  }

  function judge({ database: databaseState, store: storeState, isBeaten }: Look): Readiness {
    const isDegraded = !isDraining && canServe(databaseState) && storeState === "UNAVAILABLE" && !isBeaten;
    return {
      isReady: isDegraded || (!isDraining && canServe(databaseState) && canServe(storeState)),
      isDegraded,
      checks: { database: databaseState, store: storeState },
    };
  }

  async function sendMetrics(response: ServerResponse): Promise<void> {
    const { contentType, page } = await metrics.render();
    response.writeHead(200, { "content-type": contentType, "content-length": Buffer.byteLength(page) });
    response.end(page);
  }

  return {
    live: (_request, response) => send(response, 200, { status: "ok" }),
    async ready(_request, response) {
      const look = await lookNow();
      const { isReady, isDegraded, checks } = judge(look);
      // Only here: whoever asks this sends requests. One that nobody sends any is no help to the others.
      if (isReady && !isDegraded && look.database === "ok") void sightings?.note(look.at);
      const isFull = Object.values(checks).includes("STORAGE_FULL");
      const status = isDraining ? "draining" : !isReady ? "unavailable" : isDegraded ? "degraded" : isFull ? "full" : "ok";
      send(response, isReady ? 200 : 503, { status, checks });
    },
    openMetrics: (_request, response) => sendMetrics(response),
    state: async () => judge(await lookNow()),
    drain() {
      isDraining = true;
    },
  };
}

/** The page of metrics, for administrators and auditors alone. */
export function createGuardedMetrics(
  { openMetrics }: Health,
  { authenticator, authorizer }: { readonly authenticator: Authenticator; readonly authorizer: Authorizer },
): Handler {
  return async (request, response, context) => {
    await authorizer.authorizeSystem(
      await authenticator.authenticate(request.headers.authorization, context.remoteAddress),
      "metrics.read",
    );
    await openMetrics(request, response);
  };
}

function codeOf(error: unknown): string {
  return error instanceof RegistryError ? error.code : "UNAVAILABLE";
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
