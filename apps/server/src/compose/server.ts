// The entrance: the server of both planes with its TLS, the places of concurrent requests, health, and the metrics port; started and
// stopped together. Not here: the handler below /v2 (data-plane.ts), how a server works (http/).
import type { IncomingMessage, ServerResponse } from "node:http";
import { isReported } from "@berth/oci/errors";
import { countDamagedBlobs } from "../content/blobs.ts";
import { createStoreSightings } from "../content/store-sightings.ts";
import { READ_ONLY } from "../http/allowed-methods.ts";
import type { ServerSettings } from "./run-time-settings.ts";
import { createFeatures, type Features } from "../features/features.ts";
import type { ApiOptions } from "../http/api/api.ts";
import { createListPlaces } from "../distribution/list-places.ts";
import { devicePaths } from "../http/sign-in/device.ts";
import { type SignInParts, signInPaths } from "../http/sign-in/sign-in.ts";
import { createRefuseOtherSites, createRequireOwnPage } from "../http/browsers.ts";
import { createEntranceRefusal, type Plane, TOKEN_PATHS } from "../http/entrance-refusals.ts";
import { createGuardedMetrics, createHealth } from "../http/health.ts";
import type { MetricsServer } from "../http/metrics-server.ts";
import { addServerMetrics } from "../http/server-metrics.ts";
import type { AuditNotes } from "../features/audit/audit-notes.ts";
import { createAuditedRequests } from "../http/audit-requests.ts";
import { createRequestLog, createRequestRecord } from "../http/request-log.ts";
import { createPartyReader } from "../http/parties.ts";
import type { Party } from "../http/preemption.ts";
import { type Entrance, type Handler, type Handlers, type RunningServer, type ServerOptions, startServer } from "../http/server.ts";
import { answerExchange, EXCHANGE_METHODS } from "../http/token-exchange.ts";
import { answerToken, TOKEN_METHODS, type TokenRouteParts } from "../http/token.ts";
import type { RequestContext } from "../http/v2/handler.ts";
import { type ClientAddress, originOf, originOfSocket, type ProxiedRequest } from "../http/trusted-proxies.ts";
import { SECOND_MS } from "../platform/clock.ts";
import { createRequestIds, type Logger } from "../platform/log.ts";
import { createNetworkRules } from "../platform/networks.ts";
import { connectionsWithin, openFilesLimit } from "../platform/open-files.ts";
import { openKeyPair, type ReloadingKeyPair } from "../platform/tls.ts";
import { VERSION } from "../platform/version.ts";
import type { ListenAddress } from "../config-kinds.ts";
import type { Config } from "../config.ts";
import { DELETIONS } from "../tables.ts";
import type { Access } from "./access.ts";
import type { Content } from "./content.ts";
import { createTransfers, type DataPlane, OTHER_OPERATIONS } from "./data-plane.ts";
import { webhookSeal } from "./webhooks.ts";
import { openMetricsPort } from "./metrics-port.ts";
import { openParts, type Foundation, type RoleContext } from "./foundation.ts";

/** The handlers of the servers. */
export interface ServerParts {
  readonly access: Access;
  readonly dataPlane: DataPlane;
  readonly content: Content;
  readonly addressOf: (request: ProxiedRequest) => ClientAddress;
  readonly runTimeSettings: ServerSettings;
  readonly notes: AuditNotes;
  /** For TLS. */
  readonly keyPair: ReloadingKeyPair | undefined;
}

/** The listening servers. */
export interface RunningServers {
  readonly port: number;
  /** Of administration; undefined where it has no listener of its own. */
  readonly adminPort: number | undefined;
  /** Becomes unready, lets requests finish, and closes. */
  stop(): Promise<void>;
}

/** Starts the servers. Errors: the system's own if an address cannot be listened on. */
export function startServers(roleContext: RoleContext, foundation: Foundation, parts: ServerParts): Promise<RunningServers> {
  return openParts(roleContext, (opened) => openServers(roleContext, foundation, parts, opened));
}

async function openServers(
  roleContext: RoleContext,
  foundation: Foundation,
  parts: ServerParts,
  opened: AsyncDisposableStack,
): Promise<RunningServers> {
  const { config, logger, tracing } = roleContext;
  const { database, store, metrics, clock } = foundation;
  const { access, dataPlane, content, addressOf, keyPair } = parts;
  const refuseOtherSites = createRefuseOtherSites({ addressOf, publicUrl: config.http.publicUrl });
  const requireOwnPage = createRequireOwnPage({ addressOf, publicUrl: config.http.publicUrl });
  // Behind a proxy that is not believed, the address that clients are to use says it.
  const isSecure = (request: IncomingMessage): boolean =>
    addressOf(request).scheme === "https" || config.http.publicUrl?.startsWith("https:") === true;
  const { authenticator, authorizer, tokens, refreshTokens } = access;
  const transferOf = createTransfers(config);
  const noteAnonymous = (party: Party): void => dataPlane.places.requests.noteAnonymous(party);
  // The embedded database has only one process.
  const sightings =
    database.dialect === "sqlite"
      ? undefined
      : createStoreSightings(database, clock, (error) => {
          if (!isReported(error)) logger.warn({ err: error }, "other replicas could not be told that the store can be used");
        });
  const stallMs = config.http.bodyIdleTimeoutSeconds * SECOND_MS;
  const stopping = new AbortController();
  const health = createHealth({ database, store, sightings, clock, metrics, logger });
  const requestIds = createRequestIds();
  const partyOf = createPartyReader();
  const [tokenMeter, apiMeter] = OTHER_OPERATIONS.map((kind) => dataPlane.operationMeters(kind));
  const maxConnections = await findMaxConnections(config, logger);
  // It starts last, when all numbers exist, and stops after the server, which it reports to the end.
  let metricsServer: MetricsServer | undefined;
  opened.defer(() => metricsServer?.stop());
  const features = composeFeatures(roleContext, foundation, parts);
  const signIn: SignInParts = {
    authenticator,
    oidc: access.oidc,
    sessions: access.sessions,
    signIn: features.sessions.signIn,
    requireOwnPage,
    isSecure,
    originOf: (request) => originOf(addressOf(request), config.http.publicUrl) ?? originOfSocket(request.socket),
    transferOf,
    noteAnonymous,
  };
  const handlers: Handlers = {
    v2: dataPlane.handler,
    paths: new Map([
      [
        "/token",
        tokenPath({
          authenticator,
          tokens,
          refreshTokens,
          refuseOtherSites,
          transferOf,
          noteAnonymous,
          hasDockerRefreshTokens: config.auth.refreshTokens.forDocker,
        }),
      ],
      [
        "/oauth/token",
        {
          methods: EXCHANGE_METHODS,
          answer: (request, response, context) =>
            answerExchange(
              { tokenExchange: access.tokenExchange, tokens, service: config.auth.service, refuseOtherSites, transferOf, noteAnonymous },
              request,
              response,
              context,
            ),
        },
      ],
      ...signInPaths(signIn),
      ...devicePaths({ ...signIn, devices: access.devices, loginFailures: access.loginFailures }),
      ["/healthz", { methods: READ_ONLY, answer: health.live }],
      ["/readyz", { methods: READ_ONLY, answer: health.ready }],
      ["/metrics", { methods: READ_ONLY, answer: createGuardedMetrics(health, { authenticator, authorizer }) }],
    ]),
    rest: composeControlPlane({
      features,
      authenticator,
      authorizer,
      logger,
      addressOf,
      refuseOtherSites,
      requireOwnPage,
      isSecure,
      transferOf,
      projectCreation: parts.runTimeSettings.projectCreation,
      stallMs,
      stopping: stopping.signal,
    }),
    meterOf: (path) => (TOKEN_PATHS.has(path) ? tokenMeter : path.startsWith("/api/") ? apiMeter : undefined),
  };
  const entrance: Entrance = {
    slots: dataPlane.places.requests,
    transferOf,
    contextOf: (request) => {
      const { remoteAddress } = addressOf(request);
      return {
        id: requestIds(request.headers["x-request-id"]),
        remoteAddress,
        record: createRequestRecord(),
        party: partyOf(request, remoteAddress),
      };
    },
    requestLog: createAuditedRequests(parts.notes, config.audit.pulls, createRequestLog(logger, config.log.requests)),
    traced:
      tracing === undefined
        ? undefined
        : (request, response, { id, remoteAddress }, work) =>
            tracing.request({ request, response, id, remoteAddress, scheme: addressOf(request).scheme }, work),
  };
  const listeners = await openListeners(config, { keyPair, maxConnections, logger }, handlers, entrance);
  opened.defer(() => listeners.stop());
  addServerMetrics(metrics, {
    maxConnections,
    config,
    database,
    health,
    keyPair,
    places: dataPlane.places,
    connections: () => listeners.all.reduce((sum, each) => sum + each.connections(), 0),
    connectionsClosed: () => listeners.all.reduce((sum, each) => sum + each.connectionsClosed(), 0),
    countUploads: (limit) => content.uploads.countOpen(limit),
    countDamagedBlobs: (limit) => countDamagedBlobs(database, limit),
    tracing,
    version: VERSION,
  });
  if (config.metrics.listen !== undefined) metricsServer = await openMetricsPort(config.metrics.listen, logger, health);
  opened.defer(() => {
    health.drain();
    stopping.abort();
  });
  const [{ port }, admin] = listeners.all;
  return { port, adminPort: admin?.port, stop: () => opened.disposeAsync() };
}

interface Listeners {
  /** The one of clients, and that of administration where there is one. */
  readonly all: readonly [RunningServer, ...RunningServer[]];
  /** All at the same time: while one waits for its last request, the other takes no new ones either. */
  stop(): Promise<void>;
}

/** Opens the listeners: they share the handlers, and what limits requests. */
async function openListeners(
  { http }: Config,
  common: Pick<ServerOptions, "keyPair" | "maxConnections" | "logger">,
  handlers: Handlers,
  entrance: Entrance,
): Promise<Listeners> {
  const networks = createNetworkRules({ allow: http.allowedNetworks, deny: http.deniedNetworks });
  const open = ({ host, port }: ListenAddress, serves: Plane): Promise<RunningServer> =>
    startServer(
      {
        ...common,
        host,
        port,
        headerTimeoutMs: http.headerTimeoutSeconds * SECOND_MS,
        stallMs: http.bodyIdleTimeoutSeconds * SECOND_MS,
        keepAliveMs: http.keepAliveSeconds * SECOND_MS,
      },
      handlers,
      { ...entrance, refusalOf: createEntranceRefusal({ networks, serves }) },
    );
  const graceMs = http.shutdownGraceSeconds * SECOND_MS;
  const server = await open(http.listen, http.adminListen === undefined ? "both" : "content");
  if (http.adminListen === undefined) return { all: [server], stop: () => server.stop(graceMs) };
  try {
    const admin = await open(http.adminListen, "administration");
    return { all: [server, admin], stop: async () => void (await Promise.all([server.stop(graceMs), admin.stop(graceMs)])) };
  } catch (error) {
    await server.stop(0);
    throw error;
  }
}

/** The rules of the control plane. */
function composeFeatures(roleContext: RoleContext, foundation: Foundation, parts: ServerParts): Features {
  const { access, content, dataPlane } = parts;
  const { config } = roleContext;
  const { database, clock } = foundation;
  return createFeatures({
    directories: foundation.directories,
    deletions: DELETIONS,
    runTimeSettings: parts.runTimeSettings,
    ...access,
    browserSessions: access.sessions,
    personalTokenDays: config.auth.personalTokens.maxDays,
    database,
    clock,
    repositories: content.repositories,
    pull: dataPlane.pull,
    push: dataPlane.push,
    reader: dataPlane.reader,
    sessions: content.sessions,
    changes: content.changes,
    wanted: content.wanted,
    webhookSeal: webhookSeal(roleContext),
    checkAddress: (address) => foundation.outbound.check(address),
    places: createListPlaces(roleContext.masterKey),
    masterKey: roleContext.masterKey,
  });
}

/**
 * The control plane. Its framework and schemas take 40 MB and 200 ms, which a registry that only serves images never needs: they load at
 * its first request.
 */
function composeControlPlane(options: ApiOptions): Handler {
  const api = onFirstUse(async () => {
    const { createApi } = await import("../http/api/api.ts");
    return createApi(options);
  });
  return async (request, response, context) => (await api())(request, response, context);
}

/** Creates something at its first use, once. */
function onFirstUse<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

/** Loads the certificate and its key if they are configured. Errors: `StartupError`. */
export async function openConfiguredKeyPair({ http: { tls } }: Config, logger: Logger): Promise<ReloadingKeyPair | undefined> {
  const { certificateFile, keyFile } = tls;
  return certificateFile === undefined || keyFile === undefined ? undefined : openKeyPair({ certificateFile, keyFile, logger });
}

/** The configured number of connections, or what the system's limit on open files allows. */
async function findMaxConnections(config: Config, logger: Logger): Promise<number> {
  const openFiles = await openFilesLimit();
  const maxConnections = connectionsWithin(openFiles, config.http.maxConnections);
  if (maxConnections < config.http.maxConnections) {
    logger.warn(
      { openFiles, maxConnections, wanted: config.http.maxConnections },
      "the system lets this process open too few files for http.maxConnections: it takes fewer connections; raise the limit (LimitNOFILE=, ulimit -n) or lower the setting",
    );
  }
  return maxConnections;
}

function tokenPath(parts: TokenRouteParts) {
  return {
    methods: TOKEN_METHODS,
    answer: (request: IncomingMessage, response: ServerResponse, context: RequestContext) => answerToken(parts, request, response, context),
  };
}
