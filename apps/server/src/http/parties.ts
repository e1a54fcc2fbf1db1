// What a request counts as under the limits: its address, and whether it brings credentials. Not here: who the caller is.
import type { IncomingMessage } from "node:http";
import { addressGroup } from "../access/login-failures.ts";
import { TOKEN_PATHS } from "./entrance-refusals.ts";
import type { Party } from "./preemption.ts";

/** The number of addresses whose group is cached: parsing an address is the most expensive step of taking a place. */
const MAX_KNOWN = 10_000;
/**
 * Clients with an account call these first without credentials, to learn how to log in, or with credentials in a form that is not read yet
 * (token.ts counts those as anonymous until it has read them).
 */
const ENTRANCES: ReadonlySet<string> = new Set(["/v2/", "/v2", ...TOKEN_PATHS]);

/** Creates the function that builds a request's party. */
export function createPartyReader(): (request: IncomingMessage, remoteAddress: string) => Party {
  const groups = new Map<string, string>();

  function groupOf(address: string): string {
    let group = groups.get(address);
    if (group === undefined) {
      if (groups.size >= MAX_KNOWN) groups.clear();
      groups.set(address, (group = addressGroup(address)));
    }
    return group;
  }

  return ({ headers, url = "/" }, remoteAddress) => ({
    source: groupOf(remoteAddress),
    isAnonymous: headers.authorization === undefined && !ENTRANCES.has(url),
    transfer: undefined,
    held: undefined,
  });
}
