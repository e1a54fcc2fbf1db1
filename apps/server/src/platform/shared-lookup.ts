// Shares one look-up between concurrent ones of the same host name. The system's resolver blocks a thread as long as a name server is
// silent, usually ten seconds, and there are two threads for all names: a hundred requests for one unanswered name would delay every other
// name for minutes, including the database's. Not here: connecting to the address, and the timeout.
import dns from "node:dns";
import { isIP, type LookupFunction } from "node:net";

type Options = Parameters<LookupFunction>[1];
type Callback = Parameters<LookupFunction>[2];

/** Creates a look-up for connections: `dns.lookup`, once at a time for each name. It caches no answer. */
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

/** Resolves once a name has an address, at once for an IP address. Rejects with the resolver's error. */
export async function untilNamed(lookup: LookupFunction, hostname: string): Promise<void> {
  if (isIP(hostname.replace(/^\[(.*)\]$/, "$1")) !== 0) return;
  // The same options as connections use, so that they share it.
  const options: Options = { all: true };
  await new Promise<void>((resolve, reject) => lookup(hostname, options, (error) => (error === null ? resolve() : reject(error))));
}
