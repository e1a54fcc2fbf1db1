// Answers that stay in memory because their clients do not take them: how many bytes of them there may be, and which are dropped when there
// are more. Not here: how long one may stay (server.ts), places of requests (limits.ts), which bound the number and not the size.
import type { ServerResponse } from "node:http";
import type { Party } from "./preemption.ts";

/** A quarter of a small machine's memory. Usual manifests and pages are a few kilobytes, and the kernel takes them at once. */
export const MAX_UNREAD_BYTES = 128 * 1024 * 1024;

/** An answer in memory. */
interface Lying {
  readonly party: Party;
  readonly response: Pick<ServerResponse, "destroy">;
  readonly sizeBytes: number;
}

/** Counts the bytes of unread answers. */
export interface UnreadAnswers {
  /**
   * Counts an answer until the returned function is called. Where the limit is exceeded it breaks off answers, this one or others: first
   * those of the address that holds most, and of those the oldest.
   */
  hold(party: Party, response: Pick<ServerResponse, "destroy">, sizeBytes: number): () => void;
}

/** Creates the count. */
export function createUnreadAnswers(maxBytes: number = MAX_UNREAD_BYTES): UnreadAnswers {
  const lying = new Set<Lying>();
  const bySource = new Map<string, number>();
  let total = 0;

  function add({ party: { source } }: Lying, bytes: number): void {
    total += bytes;
    const left = (bySource.get(source) ?? 0) + bytes;
    if (left === 0) bySource.delete(source);
    else bySource.set(source, left);
  }

  function letGo(one: Lying): void {
    if (lying.delete(one)) add(one, -one.sizeBytes);
  }

  function breakOffOne(): void {
    const [most] = [...bySource].reduce((best, each) => (each[1] > best[1] ? each : best));
    // A set keeps the order of arrival.
    for (const one of lying) {
      if (one.party.source !== most) continue;
      letGo(one);
      one.response.destroy();
      return;
    }
  }

  return {
    hold(party, response, sizeBytes) {
      const one: Lying = { party, response, sizeBytes };
      lying.add(one);
      add(one, sizeBytes);
      while (total > maxBytes) breakOffOne();
      return () => letGo(one);
    },
  };
}
