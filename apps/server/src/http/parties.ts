// What a request counts as where places are short: its address, and whether it comes with credentials. Not here: who is behind them.
import type { IncomingMessage } from "node:http";
import { addressGroup } from "../access/login-failures.ts";
import type { Party } from "./preemption.ts";

/** Addresses whose group is remembered: reading one takes longer than all else that is done for a place. */
const MAX_KNOWN = 10_000;
/**
 * Clients with an account ask these first without credentials, to learn how to get some, or with credentials in a form that is not read yet
 * (token.ts, where it counts as nobody's until it is).
 */
const ENTRANCES: ReadonlySet<string> = new Set(["/v2/", "/v2", "/token"]);

/** Makes the function that reads it. */
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
