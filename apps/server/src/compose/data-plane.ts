// The data plane: manifests, tags, the cache of hot blobs, the operations of the distribution API and the handler that runs them. Not here:
// the operations (distribution/, http/v2/), the server that passes requests to them (server.ts).
import type { IncomingMessage } from "node:http";
import { withFirstPush } from "../access/first-push.ts";
import type { Blobs } from "../content/blobs.ts";
import type { BlobStore } from "../content/blobs/blob-store.ts";
import { createHotCache } from "../content/blobs/hot-cache.ts";
import { createManifests } from "../content/manifests.ts";
import { createHolders } from "../content/holders.ts";
import { createReferrers } from "../content/referrers.ts";
import { createPullCounter, type PullCounter } from "../content/pulls.ts";
import { createTags } from "../content/tags.ts";
import { createProjects } from "../features/projects/projects.ts";
import { DELETIONS } from "../tables.ts";
import type { ServerSettings } from "./run-time-settings.ts";
import { createGatekeeper } from "../distribution/gatekeeper.ts";
import type { IncomingBlobs } from "../distribution/incoming-blobs.ts";
import { createListPlaces } from "../distribution/list-places.ts";
import { createLists } from "../distribution/lists.ts";
import { createMount } from "../distribution/mount.ts";
import { createBlobReader, type BlobReader } from "../distribution/open-blob.ts";
import type { Ports } from "../distribution/ports.ts";
import { createPull, type Pull } from "../distribution/pull.ts";
import { createPush, type Push } from "../distribution/push.ts";
import { createRefuseOtherSites } from "../http/browsers.ts";
import { createPlaces, type Places } from "../http/limits.ts";
import { createOperationMeters, type OperationMeters } from "../http/operation-metrics.ts";
import { createTransfer, type Transfer } from "../http/transfer-rate.ts";
import { createForwardingWatch } from "../http/forwarding-watch.ts";
import { createTrust, originOf, originOfSocket, type ClientAddress, type ProxiedRequest } from "../http/trusted-proxies.ts";
import { createV2Handler, V2_OPERATIONS, type V2Handler } from "../http/v2/handler.ts";
import { createV2Routes } from "../http/v2/routes.ts";
import { SECOND_MS } from "../platform/clock.ts";
import { carriesAuthorization } from "../platform/host-names.ts";
import type { Logger } from "../platform/log.ts";
import { isPrivateHost } from "../platform/private-hosts.ts";
import type { Config } from "../config.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { Access } from "./access.ts";
import type { Content } from "./content.ts";
import { composeUpstreams } from "./upstreams.ts";
import { defaultProjectOf, leaseTimes, type Foundation, type RoleContext } from "./foundation.ts";

/** The handler of requests below /v2. */
export interface DataPlane {
  readonly handler: V2Handler;
  readonly pull: Pull;
  readonly push: Push;
  readonly reader: BlobReader;
  readonly places: DataPlanePlaces;
  readonly pulls: PullCounter;
  /** Blobs on their way from upstreams. */
  readonly incoming: IncomingBlobs;
  readonly operationMeters: OperationMeters;
}

/** Dragonfly caches a redirect for ten minutes and may begin a large download then. */
const SIGNED_URL_TTL_SECONDS = 20 * 60;
/** How long an upload waits for a place: some clients end a push at a 429, and a waiting upload delays nobody. */
const UPLOAD_WAIT_MS = 30 * SECOND_MS;
/** The time over which a client's rate is measured, so that clients that are too slow end while others wait. */
const RATE_WINDOW_MS = 10 * SECOND_MS;

/** The places that requests of the data plane hold. */
export interface DataPlanePlaces {
  /** Requests of the whole server. */
  readonly requests: Places;
  /** Bodies of uploads. */
  readonly uploads: Places;
  /** Bytes of manifests that are being received and stored. */
  readonly manifests: Places;
}

/** Creates the places of the data plane. */
export function createDataPlanePlaces({ limits }: Config): DataPlanePlaces {
  const { requestsInFlight, concurrentUploads } = limits;
  return {
    requests: createPlaces({
      limit: requestsInFlight,
      queueLimit: requestsInFlight,
      waitMs: 5 * SECOND_MS,
      code: "UNAVAILABLE",
      retryAfterSeconds: 2,
      anonymousLimit: Math.floor(requestsInFlight * limits.anonymousShare),
    }),
    uploads: createPlaces({
      limit: concurrentUploads,
      queueLimit: concurrentUploads,
      waitMs: UPLOAD_WAIT_MS,
      code: "TOOMANYREQUESTS",
      retryAfterSeconds: 5,
    }),
    manifests: createPlaces({
      limit: limits.manifestMemoryBytes,
      // Each of them holds a place for uploads.
      queueLimit: concurrentUploads,
      waitMs: UPLOAD_WAIT_MS,
      code: "TOOMANYREQUESTS",
      retryAfterSeconds: 5,
    }),
  };
}

/** Creates the transfers of clients. */
export function createTransfers({ http }: Config): (kind: Transfer["kind"]) => Transfer {
  const rates = { upload: http.minimumUploadBytesPerSecond, download: http.minimumDownloadBytesPerSecond };
  return (kind) => createTransfer({ kind, bytesPerSecond: rates[kind], windowMs: RATE_WINDOW_MS });
}

/** The kinds that are counted beside the operations of the distribution API. */
export const OTHER_OPERATIONS = ["token", "api"] as const;

/** The parts beside the foundation. */
interface DataPlaneParts {
  readonly access: Access;
  readonly content: Content;
  readonly addressOf: (request: ProxiedRequest) => ClientAddress;
  readonly ports: Ports;
  readonly runTimeSettings: Pick<ServerSettings, "ownedPerUser">;
}

/** Composes the data plane. */
export function composeDataPlane(
  roleContext: RoleContext,
  { database, store, metrics, clock }: Foundation,
  { access, content, addressOf, ports, runTimeSettings }: DataPlaneParts,
): DataPlane {
  const { config, logger } = roleContext;
  const { authenticator, authorizer } = access;
  const { repositories, blobs, sessions, changes } = content;
  const gatekeeper = createGatekeeper({ gates: ports.gates ?? [], holders: createHolders(database) });
  const manifests = createManifests(database, clock, leaseTimes(config), { changes, rules: ports });
  const tags = createTags(database, clock, changes, ports);
  const pulls = createPullCounter(database, clock, (error) =>
    logger.warn({ err: error }, "pulls that were counted could not be written; they are tried again"),
  );
  metrics.addCounter(
    "pulls_uncounted_total",
    "Pulls that are missing in the counts, since the database was away for long.",
    () => pulls.uncounted,
  );
  const referrers = createReferrers(database);
  const places = createDataPlanePlaces(config);
  const operationMeters = createOperationMeters(metrics, [...V2_OPERATIONS, ...OTHER_OPERATIONS]);
  const reader = composeReader(roleContext, metrics, blobs, store);
  const upstream = composeUpstreams(roleContext, metrics, { ports, access, content, manifests, reader });
  const pull = createPull({ authorizer, repositories, manifests, blobs, ports: { gatekeeper, pullThrough: upstream.pullThrough } });
  const projects = createProjects({
    database,
    clock,
    accounts: access.accounts,
    authorizer,
    deletions: DELETIONS,
    changes,
    runTimeSettings,
  });
  const push = createPush({
    authorizer: withFirstPush(access.firstPush, (grant, name) => projects.create(grant, { name })),
    repositories,
    manifests,
    tags,
    blobs,
    acceptSparseImages: config.push.sparseImages === "accept",
  });
  const routes = createV2Routes({
    pull,
    push,
    mount: createMount({
      authorizer,
      repositories,
      blobs,
      gatekeeper,
      onUndecided: (error) => logger.error({ err: error }, "a gate could not decide whether a blob may be mounted: it is not"),
    }),
    lists: createLists({
      authorizer,
      repositories,
      manifests,
      tags,
      referrers,
      places: createListPlaces(roleContext.masterKey),
      upstreamLists: upstream.lists,
    }),
    uploads: sessions,
    manifests,
    pulls,
    reader,
    store,
    uploadSlots: places.uploads,
    manifestRoom: places.manifests,
    settings: {
      maxManifestBytes: config.limits.manifestBytes,
      maxPageSize: config.limits.pageSize,
      minChunkBytes: config.limits.chunkMinBytes,
      bodyIdleTimeoutMs: config.http.bodyIdleTimeoutSeconds * SECOND_MS,
      transferOf: createTransfers(config),
      redirect: config.storage.redirect === "always",
      mayRedirect: createRedirectRule(roleContext, addressOf),
      signedUrlTtlSeconds: SIGNED_URL_TTL_SECONDS,
    },
  });
  const handler = createV2Handler({
    authenticator,
    routes,
    operationMeters,
    logger,
    service: config.auth.service,
    refuseOtherSites: createRefuseOtherSites({ addressOf, publicUrl: config.http.publicUrl }),
    defaultProject: defaultProjectOf(config),
    forwardingProblem: createForwardingWatch({
      addressOf,
      isTrusted: createTrust(config.http.trustedProxies),
      hasAddress: config.http.publicUrl !== undefined || config.auth.realm !== undefined,
      logger,
    }),
    noteAnonymous: (party) => places.requests.noteAnonymous(party),
    realmOf(request) {
      if (config.auth.realm !== undefined) return config.auth.realm;
      // Old probes speak HTTP/1.0 and send no Host: an answer must not fail because of it.
      return `${originOf(addressOf(request), config.http.publicUrl) ?? originOfSocket(request.socket)}/token`;
    },
  });
  return { handler, operationMeters, places, pulls, pull, push, reader, incoming: upstream.incoming };
}

/** Reads blobs through the cache, counts its hits, and reports damage. */
function composeReader({ config, logger }: RoleContext, metrics: Metrics, blobs: Blobs, store: BlobStore): BlobReader {
  const cache = createHotCache({ store, maxBytes: config.storage.hotCacheBytes });
  let damagedReads = 0;
  metrics.addCounter("blob_damaged_reads_total", "Reads that found a blob's bytes missing or wrong.", () => damagedReads);
  metrics.addGauge("hot_cache_bytes", "Memory that the cache of hot blobs holds.", () => cache.sizeBytes);
  metrics.addCounter("hot_cache_hit_bytes_total", "Bytes of blobs that came from the cache.", () => cache.hitBytes);
  metrics.addCounter("hot_cache_miss_bytes_total", "Bytes of blobs that had to come from the store.", () => cache.missBytes);
  return createBlobReader({
    blobs,
    cache,
    onDamage: (blob, error) => {
      damagedReads++;
      logger.error({ err: error, digest: blob.digest }, "a blob's bytes are missing or wrong: pushing it again heals it");
    },
    onUnmarked: (blob, error) => logger.error({ err: error, digest: blob.digest }, "a damaged blob could not be marked as such"),
  });
}

/** Whether a client may be redirected to a store's address; the first refusal is logged. */
function createRedirectRule(
  { config, logger }: RoleContext,
  addressOf: (request: ProxiedRequest) => ClientAddress,
): (request: IncomingMessage, address: string) => boolean {
  let hasWarned = false;
  if (config.storage.redirect === "always") void warnOfPrivateStore(config, logger);
  return (request, address) => {
    const origin = originOf(addressOf(request), config.http.publicUrl);
    if (origin !== undefined && !carriesAuthorization(origin, address)) return true;
    if (!hasWarned) {
      hasWarned = true;
      logger.warn(
        { origin, store: URL.parse(address)?.host },
        "blobs are not redirected to the S3 service: it has the registry's host name, so that clients would send it their tokens; give it one of its own (storage.s3.publicEndpoint)",
      );
    }
    return false;
  };
}

/**
 * Warns at the start if redirects lead to an address of a private network: crane, ko, Kaniko and everything else built on
 * go-containerregistry refuses to follow such a redirect from a registry at a public address. A name that cannot be resolved here says
 * nothing about clients.
 */
async function warnOfPrivateStore({ storage: { s3 } }: Config, logger: Logger): Promise<void> {
  const store = URL.parse(s3.publicEndpoint ?? s3.endpoint ?? "")?.hostname;
  if (store === undefined || !(await isPrivateHost(store))) return;
  logger.warn(
    { store, setting: s3.publicEndpoint === undefined ? "storage.s3.endpoint" : "storage.s3.publicEndpoint" },
    "storage.redirect sends clients to an address of a private network: crane, ko, Kaniko and others made of go-containerregistry refuse to follow; give the S3 service a public address, or set storage.redirect to never",
  );
}
