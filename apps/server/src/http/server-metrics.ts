// Gauges of a running server: connections, queues, the certificate's end. They are read when the page is. Not here: those of every process
// (process-metrics.ts), counters (platform/metrics.ts), what the numbers mean (docs/guide/metrics.md).
import { RegistryError } from "@berth/oci/errors";
import type { LoginFailures, LoginLock } from "../access/login-failures.ts";
import { EXCHANGE_RESULTS, type ExchangeResult } from "../access/token-exchange.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { ReloadingKeyPair } from "../platform/tls.ts";
import type { Places } from "./limits.ts";
import { addProcessMetrics, type ProcessMetricsParts } from "./process-metrics.ts";

/** The parts whose numbers are shown. */
export interface ServerMetricsParts extends ProcessMetricsParts {
  readonly keyPair: ReloadingKeyPair | undefined;
  readonly places: { readonly requests: Places; readonly uploads: Places; readonly manifests: Places };
  readonly connections: () => number;
  readonly connectionsClosed: () => number;
  /** Counts the open upload sessions of all replicas, up to a limit. */
  readonly countUploads: (limit: number) => Promise<number>;
  readonly countDamagedBlobs: (limit: number) => Promise<number>;
  /** The effective limit. */
  readonly maxConnections: number;
}

/** More open uploads than this are shown as this number: no count is unbounded. */
const UPLOADS_BOUND = 1000;
/** One damaged blob already raises an alarm; an exact number beyond this adds nothing. */
const DAMAGE_BOUND = 10_000;
/** How long a number from the database is cached: every replica asks for it. */
const COUNT_TTL_MS = 10_000;

/** Adds the server metrics to the page. */
export function addServerMetrics(metrics: Metrics, parts: ServerMetricsParts): void {
  const { config, keyPair } = parts;
  addProcessMetrics(metrics, parts);
  metrics.addGauge("http_connections", "Open connections.", parts.connections);
  metrics.addGauge(
    "http_connections_limit",
    "Most connections at once: http.maxConnections, or fewer where the system allows too few open files.",
    () => parts.maxConnections,
  );
  metrics.addCounter(
    "http_connections_closed_total",
    "Connections that were closed to make room for others, at http.maxConnections.",
    parts.connectionsClosed,
  );
  const slots = { request: parts.places.requests, upload: parts.places.uploads, manifest: parts.places.manifests };
  const limits = { request: config.limits.requestsInFlight, upload: config.limits.concurrentUploads };
  const perSlot = (read: (places: Places, kind: "request" | "upload") => number) => () =>
    (["request", "upload"] as const).map((kind) => ({ labels: { kind }, value: read(slots[kind], kind) }));
  const perKind = (read: (places: Places) => number) => () =>
    (["request", "upload", "manifest"] as const).map((kind) => ({ labels: { kind }, value: read(slots[kind]) }));
  metrics.addGauges(
    "slots_used",
    "Requests, and bodies of uploads, that run now.",
    perSlot((places) => places.active),
  );
  metrics.addGauges(
    "slots_waiting",
    "Those that wait for a place, and manifests (`manifest`) that wait for memory.",
    perKind((places) => places.waiting),
  );
  metrics.addGauges(
    "slots_limit",
    "Places (limits.requestsInFlight, limits.concurrentUploads).",
    perSlot((_, kind) => limits[kind]),
  );
  metrics.addCounters(
    "slots_refused_total",
    "Those that were refused for want of a place, or of memory for a manifest.",
    perKind((places) => places.refused),
  );
  metrics.addCounters(
    "slots_broken_off_total",
    "Those that were broken off to make room: too slow, or of an address that held more than its share, while others waited.",
    perKind((places) => places.brokenOff),
  );
  metrics.addGauge("manifest_bodies_bytes", "Memory that manifests hold while they are received and stored.", () => slots.manifest.active);
  metrics.addGauge("manifest_bodies_limit_bytes", "The same at most: limits.manifestMemoryBytes.", () => config.limits.manifestMemoryBytes);

  const addCount = (name: string, help: string, count: () => Promise<number>): void => {
    let known = { count: 0, at: -Infinity };
    metrics.addRefresh(async () => {
      if (performance.now() - known.at < COUNT_TTL_MS) return;
      known = { count: await count(), at: performance.now() };
    });
    metrics.addGauge(name, help, () => known.count);
  };
  addCount("uploads_open", `Upload sessions that are open on all replicas, up to ${UPLOADS_BOUND}.`, () =>
    parts.countUploads(UPLOADS_BOUND),
  );
  addCount("blobs_damaged", "Blobs known to be missing or damaged; a push heals them.", () => parts.countDamagedBlobs(DAMAGE_BOUND));

  if (keyPair !== undefined) {
    metrics.addGauge("tls_certificate_expires_timestamp_seconds", "When the certificate in use ends, as Unix time.", () =>
      Math.floor(keyPair.expiresAt().getTime() / 1000),
    );
  }
}

/** Counts wrong passwords, and logins that were refused without a check because of a lock. */
export function countLoginFailures(failures: LoginFailures, metrics: Metrics): LoginFailures {
  let wrong = 0;
  let refused = 0;
  metrics.addCounter("login_failures_total", "Logins with a wrong name or password.", () => wrong);
  metrics.addCounter("login_lockouts_total", "Logins that were refused unheard, after too many wrong ones.", () => refused);
  return {
    ...failures,
    async check(name, address) {
      try {
        await failures.check(name, address);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "TOOMANYREQUESTS") refused++;
        throw error;
      }
    },
    record(name, address, secret) {
      wrong++;
      return failures.record(name, address, secret);
    },
    repeat() {
      wrong++;
      failures.repeat();
    },
  };
}

/** Counts locks when they begin, by what they lock. */
export function countLoginLocks(metrics: Metrics): { count(kind: LoginLock["kind"]): void } {
  const begun: Record<LoginLock["kind"], number> = { pair: 0, address: 0, account: 0, fresh: 0 };
  metrics.addCounters("login_locks_total", "Locks that began after wrong passwords, by what they lock.", () =>
    Object.entries(begun).map(([kind, value]) => ({ labels: { kind }, value })),
  );
  return { count: (kind) => void begun[kind]++ };
}

/** Counts what became of ID tokens, and of fetches of issuers' keys. */
export function countExchanges(metrics: Metrics): { count(result: ExchangeResult): void; countFetch(isDone: boolean): void } {
  const results = Object.fromEntries(EXCHANGE_RESULTS.map((result) => [result, 0])) as Record<ExchangeResult, number>;
  const fetches = { done: 0, failed: 0 };
  metrics.addCounters("id_tokens_total", "ID tokens of other issuers that somebody signed in with, by what became of them.", () =>
    Object.entries(results).map(([result, value]) => ({ labels: { result }, value })),
  );
  metrics.addCounters("issuer_key_fetches_total", "Fetches of issuers' keys.", () =>
    Object.entries(fetches).map(([result, value]) => ({ labels: { result }, value })),
  );
  return { count: (result) => void results[result]++, countFetch: (isDone) => void fetches[isDone ? "done" : "failed"]++ };
}
