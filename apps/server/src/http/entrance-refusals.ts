// What is refused before anybody is asked who he is: requests from where the registry may not be used, and those for what another listener serves.
// Health checks are answered to all and everywhere, since whoever sends them takes a refusal for a failure. Not here: malformed requests (server.ts),
// projects and robots (access/network-rules.ts).
import type { IncomingMessage } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import { registryAway } from "../access/network-rules.ts";
import type { NetworkRules } from "../platform/networks.ts";

/** The refusal of a request, or undefined. */
export type EntranceRefusal = (request: IncomingMessage, remoteAddress: string) => RegistryError | undefined;

/** What a listener serves: pulls and pushes with the tokens for them, everything else, or both. */
export type Plane = "content" | "administration" | "both";

/** Pages of health checks, which are answered while the server is full: if a probe were refused, the orchestrator would kill a busy server. */
export const HEALTH_PATHS: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);
/** Where tokens are given. */
export const TOKEN_PATHS: ReadonlySet<string> = new Set(["/token", "/oauth/token"]);

function planeOf(url: string): Exclude<Plane, "both"> {
  const mark = url.indexOf("?");
  const path = mark === -1 ? url : url.slice(0, mark);
  return path === "/v2" || path.startsWith("/v2/") || TOKEN_PATHS.has(path) ? "content" : "administration";
}

const ELSEWHERE: Readonly<Record<Exclude<Plane, "both">, string>> = {
  content: "pulls and pushes are not served at this address: use the registry's own",
  administration: "administration is not served at this address: ask the registry's operator for its own",
};

/** Creates what refuses. `networks` undefined: the registry may be used from everywhere. */
export function createEntranceRefusal({
  networks,
  serves,
}: {
  readonly networks: NetworkRules | undefined;
  readonly serves: Plane;
}): EntranceRefusal | undefined {
  if (networks === undefined && serves === "both") return undefined;
  return ({ url = "/" }, remoteAddress) => {
    if (HEALTH_PATHS.has(url)) return undefined;
    if (networks?.permits(remoteAddress) === false) return registryAway(remoteAddress);
    if (serves === "both") return undefined;
    const plane = planeOf(url);
    return plane === serves ? undefined : new RegistryError("PLANE_ELSEWHERE", { message: ELSEWHERE[plane] });
  };
}
