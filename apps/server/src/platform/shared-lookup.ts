// Look-ups of a host name that come together share one. The system's resolver blocks a thread for as long as a name server is silent, ten seconds
// as a rule, and there are two of them for all names: a hundred requests for one name that is not answered would keep every other name
// waiting for minutes, the database's among them. Not here: what is done with an address, and how long that is waited for.
import dns from "node:dns";
import { isIP, type LookupFunction } from "node:net";

type Options = Parameters<LookupFunction>[1];
type Callback = Parameters<LookupFunction>[2];

/** Makes a look-up for connections: `dns.lookup`, once at a time for each name. It keeps no answer. */
export function createSharedLookup(lookup: LookupFunction = dns.lookup): LookupFunction {
  const waiting = new Map<string, Callback[]>();
  return (hostname, options, callback) => {
    const key = JSON.stringify([hostname, options.family, options.hints, options.all, options.order]);
    const others = waiting.get(key);
    if (others !== undefined) {
      others.push(callback);
      return;
    }
    const callbacks = [callback];
    waiting.set(key, callbacks);
    lookup(hostname, options, (...answer) => {
      waiting.delete(key);
      for (const each of callbacks) each(...answer);
    });
  };
}

/** Resolves once a name has an address, at once for what is one. Rejects with the resolver's error. */
export async function untilNamed(lookup: LookupFunction, hostname: string): Promise<void> {
  if (isIP(hostname.replace(/^\[(.*)\]$/, "$1")) !== 0) return;
  // As connections ask, so that they share it.
  const options: Options = { all: true };
  await new Promise<void>((resolve, reject) => lookup(hostname, options, (error) => (error === null ? resolve() : reject(error))));
}
