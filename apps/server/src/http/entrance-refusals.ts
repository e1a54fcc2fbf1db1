// What is refused before anybody is asked who he is: requests from where the registry may not be used. Health checks are answered to all, since whoever
// sends them acts on no answer as on a failure. Not here: malformed requests (server.ts), projects and robots (access/network-rules.ts).
import type { IncomingMessage } from "node:http";
import type { RegistryError } from "@berth/oci/errors";
import { registryAway } from "../access/network-rules.ts";
import type { NetworkRules } from "../platform/networks.ts";

/** The refusal of a request, or undefined. */
export type EntranceRefusal = (request: IncomingMessage, remoteAddress: string) => RegistryError | undefined;

/** Pages of health checks. */
export const HEALTH_PATHS: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);

/** Creates what refuses. `networks` undefined: the registry may be used from everywhere. */
export function createEntranceRefusal({ networks }: { readonly networks: NetworkRules | undefined }): EntranceRefusal | undefined {
  if (networks === undefined) return undefined;
  return ({ url }, remoteAddress) =>
    networks.permits(remoteAddress) || HEALTH_PATHS.has(url ?? "/") ? undefined : registryAway(remoteAddress);
}
