// How many streams of events one caller has open here: each looks at the database every second for as long as its client stays, so that a script
// that forgets to close them would slow down everybody. Not here: sending them (stream-answer.ts), places of requests, which end (../limits.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Caller } from "../../access/caller.ts";

/** More than anybody looks at; a browser opens six connections to a server that speaks HTTP/1.1. */
export const MAX_EVENT_STREAMS = 32;
/** Streams end with what they follow. */
const RETRY_AFTER_SECONDS = 10;

/** Places of streams of events. */
export interface EventPlaces {
  /** Takes one; the function that it gives gives it back. Errors: TOOMANYREQUESTS where the caller has all of his. */
  enter(who: { readonly caller: Caller; readonly remoteAddress: string }): () => void;
}

/** Makes places of which none is taken. */
export function createEventPlaces(limit: number = MAX_EVENT_STREAMS): EventPlaces {
  const open = new Map<string, number>();
  return {
    enter({ caller, remoteAddress }) {
      const whose = caller.kind === "account" ? `account ${caller.accountId}` : `address ${remoteAddress}`;
      const present = open.get(whose) ?? 0;
      if (present >= limit) {
        throw new RegistryError("TOOMANYREQUESTS", {
          message: "too many streams of events are open",
          detail: { limit },
          headers: { "retry-after": String(RETRY_AFTER_SECONDS) },
        });
      }
      open.set(whose, present + 1);
      return () => {
        const left = open.get(whose)! - 1;
        if (left === 0) open.delete(whose);
        else open.set(whose, left);
      };
    },
  };
}
