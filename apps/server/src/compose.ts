// Builds everything, top to bottom: the order in which the parts are made, started and stopped. What each is made of is in compose/, the only
// folder that constructs stores and services. Not here: roles and signals (main.ts).
import type { Collector } from "./distribution/collector.ts";
import { createClientAddressReader } from "./http/trusted-proxies.ts";
import { openAccess } from "./compose/access.ts";
import { composeContent } from "./compose/content.ts";
import { composeDataPlane } from "./compose/data-plane.ts";
import { openFoundation, type Foundation, type Surroundings } from "./compose/foundation.ts";
import { composeJobs } from "./compose/jobs.ts";
import { startServers } from "./compose/server.ts";

/** A registry that answers. */
export interface RunningRegistry {
  readonly port: number;
  /** Set at the very first start: the administrator's password, made up because the configuration gave none. */
  readonly generatedAdminPassword: string | undefined;
  /** Lets requests and jobs end, then closes everything. */
  stop(): Promise<void>;
}

/** The background work alone, for the `work` role and the `gc` command. */
export function composeCollector(surroundings: Surroundings, foundation: Foundation): Collector {
  return composeJobs(surroundings, foundation, composeContent(surroundings, foundation).sessions);
}

/** Builds and starts the registry. `jobs` false leaves the background work to `work` processes. */
export async function startRegistry(surroundings: Surroundings, options: { jobs: boolean }): Promise<RunningRegistry> {
  const foundation = await openFoundation(surroundings);
  const content = composeContent(surroundings, foundation);
  const jobs = composeJobs(surroundings, foundation, content.sessions);
  const access = await openAccess(surroundings, foundation);
  const addressOf = createClientAddressReader(surroundings.config.http.trustedProxies);
  const dataPlane = composeDataPlane(surroundings, foundation, access, content, addressOf);
  const servers = await startServers(surroundings, foundation, { access, dataPlane, uploads: content.uploads, addressOf });
  if (options.jobs) jobs.start();
  return {
    port: servers.port,
    generatedAdminPassword: access.generatedAdminPassword,
    async stop() {
      await servers.stop();
      await jobs.stop();
      await foundation.close();
    },
  };
}
