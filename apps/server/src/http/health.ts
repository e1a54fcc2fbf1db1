// Health and metrics for an operator's systems: whether the process is alive, whether it can serve, what it has counted. Not here: what is
// counted (platform/metrics.ts).
import type { ServerResponse } from "node:http";
import { isReported, RegistryError } from "@berth/oci/errors";
import type { Authenticator } from "../access/authenticate.ts";
import type { Authorizer } from "../access/authorize.ts";
import { placeCaller } from "../access/network-rules.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import type { StoreSightings } from "../content/store-sightings.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";
import type { Metrics } from "../platform/metrics.ts";
import { withinTime } from "../platform/within-time.ts";
import type { PageHandler } from "./metrics-server.ts";
import { sendJson } from "./send-json.ts";
import type { Handler } from "./server.ts";

/** The parts that health needs. */
export interface HealthParts {
  readonly database: Database;
  readonly store: BlobStore;
  /** Other replicas' reports on the store; undefined where there cannot be any. */
  readonly sightings: StoreSightings | undefined;
  /** The registry's time, which all replicas share. */
  readonly clock: Clock;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** How long a backend's state is cached; set by tests. */
  readonly probeTtlMs?: number;
}

/** The state of readiness. */
export interface Readiness {
  readonly isReady: boolean;
  /** Ready without the store: no other replica could do better. */
  readonly isDegraded: boolean;
  readonly checks: Readonly<Record<string, string>>;
}

/** The handlers. */
export interface Health {
  /** 200 as long as the process answers. */
  readonly live: PageHandler;
  /**
   * 200 when database and store can be used; 503 with the failed part, and while the process drains. A full disk or bucket is reported as
   * `full` with 200: pulls and deletions are served, no other replica has more room, and without requests nobody could free any. An
   * unreachable store is reported as `degraded`, also with 200, as long as no other replica is known to reach it: manifests and small blobs
   * are served here, and if all replicas said 503, nothing would be.
   */
  readonly ready: PageHandler;
  /** Prometheus's page without authentication, for a port of its own. */
  readonly openMetrics: PageHandler;
  /** The state that `ready` reports, for the metrics page. */
  state(): Promise<Readiness>;
  /** Marks the process as not ready from now on. */
  drain(): void;
}

/** How long a backend's state is cached: probes of many load balancers must not become a load themselves. */
const PROBE_TTL_MS = 1000;
/** A backend that does not answer within this time is not ready. */
const PROBE_TIMEOUT_MS = 3000;

/** The result of one check of the backends, begun at `at`. */
interface Look {
  readonly at: number;
  readonly database: string;
  readonly store: string;
  /** Only this replica cannot reach the store. */
  readonly othersReachStore: boolean;
}

const canServe = (outcome: string): boolean => outcome === "ok" || outcome === "STORAGE_FULL";

/** Creates the handlers. */
export function createHealth(parts: HealthParts): Health {
  const { database, store, sightings, clock, metrics, logger, probeTtlMs = PROBE_TTL_MS } = parts;
  let isDraining = false;
  let last: { readonly at: number; readonly look: Promise<Look> } | undefined;
  let storeFailedAt: number | undefined;

  // Only changes are logged: probes come every few seconds.
  const logged = new Map<string, string>();
  function report(part: string, outcome: string, error?: unknown): string {
    if (outcome !== (logged.get(part) ?? "ok")) {
      if (outcome === "ok") logger.info({ part }, "can be used again");
      else if (!isReported(error)) logger.error({ part, outcome, err: error }, "cannot be used as it should");
      logged.set(part, outcome);
    }
    return outcome;
  }

  async function outcomeOf(part: string, probe: () => Promise<void>): Promise<string> {
    try {
      await withinTime(probe(), PROBE_TIMEOUT_MS, tooLate);
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
      return { at, database: databaseState, store: storeState, othersReachStore: false };
    }
    const now = clock.now();
    // The clock may have been set back in between.
    storeFailedAt = Math.min(storeFailedAt ?? now, now);
    const failedAt = storeFailedAt;
    try {
      const othersReachStore = canServe(databaseState) && (await sightings?.wasSeenSince(failedAt)) === true;
      return { at, database: databaseState, store: storeState, othersReachStore };
    } catch (error) {
      return { at, database: report("database", codeOf(error), error), store: storeState, othersReachStore: false };
    }
  }

  async function lookNow(): Promise<Look> {
    const now = performance.now();
    if (last === undefined || now - last.at >= probeTtlMs) last = { at: now, look: probeAll() };
    return last.look;
  }

  function judge({ database: databaseState, store: storeState, othersReachStore }: Look): Readiness {
    const isDegraded = !isDraining && canServe(databaseState) && storeState === "UNAVAILABLE" && !othersReachStore;
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
    live: (_request, response) => sendJson(response, 200, { status: "ok" }),
    async ready(_request, response) {
      const look = await lookNow();
      const { isReady, isDegraded, checks } = judge(look);
      // Sightings are recorded only on this path: a replica that is probed also gets requests, and one without requests is no help to the
      // others.
      if (isReady && !isDegraded && look.database === "ok") void sightings?.note(look.at);
      const isFull = Object.values(checks).includes("STORAGE_FULL");
      const status = isDraining ? "draining" : !isReady ? "unavailable" : isDegraded ? "degraded" : isFull ? "full" : "ok";
      sendJson(response, isReady ? 200 : 503, { status, checks });
    },
    openMetrics: (_request, response) => sendMetrics(response),
    state: async () => judge(await lookNow()),
    drain() {
      isDraining = true;
    },
  };
}

/** The metrics page for administrators and auditors only. */
export function createGuardedMetrics(
  { openMetrics }: Health,
  { authenticator, authorizer }: { readonly authenticator: Authenticator; readonly authorizer: Authorizer },
): Handler {
  return async (request, response, context) => {
    const { id: requestId, remoteAddress: address } = context;
    const caller = await authenticator.authenticate(request.headers.authorization, address);
    await authorizer.authorizeSystem(placeCaller(caller, { requestId, address }), "metrics.read");
    await openMetrics(request, response);
  };
}

function codeOf(error: unknown): string {
  return error instanceof RegistryError ? error.code : "UNAVAILABLE";
}

function tooLate(): RegistryError {
  return new RegistryError("UNAVAILABLE", { cause: new Error(`no answer within ${PROBE_TIMEOUT_MS} ms`) });
}
