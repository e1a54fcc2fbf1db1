// Composes everything, top to bottom: the order in which the parts are created, started and stopped. compose/ creates each part, with its
// stores and services; only the features create their own (features/features.ts). Not here: roles and signals (roles/).
import { createClientAddressReader } from "./http/trusted-proxies.ts";
import { createFetchJson } from "./compose/issuer-documents.ts";
import { createProviderFetch } from "./compose/provider-fetch.ts";
import { openAccess, type KeepAdminPassword } from "./compose/access.ts";
import { composeAudit } from "./compose/audit.ts";
import { composeContent } from "./compose/content.ts";
import { composeDataPlane } from "./compose/data-plane.ts";
import { watchFirstPassword } from "./compose/first-password.ts";
import { openFoundation, openParts, type Foundation, type RoleContext } from "./compose/foundation.ts";
import { type BackgroundWork, composeJobs } from "./compose/jobs.ts";
import { startRunTimeSettings } from "./compose/run-time-settings.ts";
import { openWorkersMetrics } from "./compose/metrics-port.ts";
import { NO_PORTS, type FeaturePorts } from "./compose/ports.ts";
import { refuseFileAsStore } from "./compose/openers.ts";
import { tryAddress } from "./compose/start-errors.ts";
import { openConfiguredKeyPair, startServers } from "./compose/server.ts";

/** A running registry. */
export interface RunningRegistry {
  readonly port: number;
  /** Of administration; undefined where it has no listener of its own. */
  readonly adminPort: number | undefined;
  /** Lets requests and jobs finish, then closes everything. */
  stop(): Promise<void>;
}

/** The background work alone. */
export function composeBackgroundWork(roleContext: RoleContext, foundation: Foundation): BackgroundWork {
  return composeJobs(roleContext, foundation, composeContent(roleContext, foundation));
}

/** Starts the background work alone, with the metrics port if it is configured; returns a function that stops it. */
export function startWork(roleContext: RoleContext): Promise<() => Promise<void>> {
  return openParts(roleContext, async (opened) => {
    const { metrics } = roleContext.config;
    if (metrics.listen !== undefined) await tryAddress("metrics.listen", metrics.listen);
    const foundation = await openFoundation(roleContext);
    opened.defer(() => foundation.close());
    const settings = await startRunTimeSettings(roleContext, foundation);
    opened.defer(() => settings.stop());
    const audit = composeAudit(roleContext, foundation);
    opened.defer(() => audit.loop.stop());
    const content = composeContent(roleContext, foundation, { onRecorded: audit.loop.wake });
    const jobs = composeJobs(roleContext, foundation, content);
    opened.defer(await openWorkersMetrics(roleContext, foundation));
    opened.defer(() => jobs.stop());
    audit.loop.start();
    jobs.start();
    return () => opened.disposeAsync();
  });
}

/** The options of a start. */
export interface StartOptions {
  /** False leaves the background work to `work` processes. */
  readonly jobs: boolean;
  readonly keepAdminPassword?: KeepAdminPassword;
  /** Where the generated password is kept until it is changed. */
  readonly adminPasswordFile?: string;
  /** What features bring to the data plane. */
  readonly ports?: FeaturePorts;
}

/** Composes and starts the registry. Parts are closed in the opposite order: by `stop`, or when a later part fails to start. */
export function startRegistry(roleContext: RoleContext, options: StartOptions): Promise<RunningRegistry> {
  return openParts(roleContext, async (opened) => {
    const { config, logger } = roleContext;
    const { http, metrics } = config;
    // First the parts that need no database, so that a mistyped setting leaves no trace.
    const keyPair = await openConfiguredKeyPair(config, logger);
    opened.defer(() => keyPair?.close());
    await refuseFileAsStore(config);
    await tryAddress("http.listen", http.listen);
    if (http.adminListen !== undefined) await tryAddress("http.adminListen", http.adminListen);
    if (metrics.listen !== undefined) await tryAddress("metrics.listen", metrics.listen);
    const foundation = await openFoundation(roleContext);
    opened.defer(() => foundation.close());
    const { ports: features = NO_PORTS, keepAdminPassword } = options;
    const ports = features.open(foundation);
    const audit = composeAudit(roleContext, foundation);
    // Stopped behind all that records.
    opened.defer(() => audit.loop.stop());
    const content = composeContent(roleContext, foundation, { rules: ports, onRecorded: audit.loop.wake });
    opened.defer(() => content.wanted.stop());
    content.wanted.start();
    const jobs = composeJobs(roleContext, foundation, content, { traits: features.traits, rules: ports });
    opened.defer(() => jobs.stop());
    const runTimeSettings = await startRunTimeSettings(roleContext, foundation);
    opened.defer(() => runTimeSettings.stop());
    const access = await openAccess(roleContext, foundation, {
      projectCreation: runTimeSettings.projectCreation,
      traits: features.traits,
      changes: content.changes,
      fetchJson: createFetchJson(foundation.outbound.for("issuer")),
      providerFetch: (issuer) => createProviderFetch(foundation.outbound.for("sign-in"), issuer),
      keepAdminPassword,
    });
    const { database } = foundation;
    opened.defer(
      watchFirstPassword({
        database,
        passwords: access.passwords,
        logger,
        configured: config.auth.adminPassword,
        file: options.adminPasswordFile,
      }),
    );
    const addressOf = createClientAddressReader(config.http.trustedProxies);
    const dataPlane = composeDataPlane(roleContext, foundation, { access, content, addressOf, ports, runTimeSettings });
    // Stopped after the servers, so that the last requests are on record too.
    opened.defer(() => audit.notes.stop());
    await audit.notes.start();
    const servers = await startServers(roleContext, foundation, {
      access,
      dataPlane,
      content,
      addressOf,
      keyPair,
      runTimeSettings,
      notes: audit.notes,
    });
    // Behind the servers, whose last answers may read from them.
    opened.defer(() => dataPlane.incoming.stop());
    // Stopped after the servers, so that the last pulls are written too.
    opened.defer(() => dataPlane.pulls.stop());
    dataPlane.pulls.start();
    opened.defer(() => access.credentialUse.stop());
    access.credentialUse.start();
    opened.defer(() => servers.stop());
    audit.loop.start();
    if (options.jobs) jobs.start();
    return { port: servers.port, adminPort: servers.adminPort, stop: () => opened.disposeAsync() };
  });
}
