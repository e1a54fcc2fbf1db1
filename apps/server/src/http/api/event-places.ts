// Limits the open event streams of one caller: each reads the database every second as long as its client stays, so a script that forgets
// to close them would slow down everybody. Not here: sending them (stream-answer.ts), places of requests, which end (../limits.ts).
import { RegistryError } from "@berth/oci/errors";
import type { Caller } from "../../access/caller.ts";

/** More than anybody watches; a browser opens six connections to a server that speaks HTTP/1.1. */
export const MAX_EVENT_STREAMS = 32;
/** Streams end with what they follow. */
const RETRY_AFTER_SECONDS = 10;

/** Places of streams of events. */
export interface EventPlaces {
  /** Takes a place, and returns a function that frees it. Errors: TOOMANYREQUESTS if the caller has all of its own. */
  enter(who: { readonly caller: Caller; readonly remoteAddress: string }): () => void;
}

/** Creates places that are all free. */
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
