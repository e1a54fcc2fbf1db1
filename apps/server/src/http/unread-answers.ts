// Answers that lie in memory since their clients do not take them: how many bytes of them there may be at a time, and whose go when there are
// more. Not here: how long one may lie (server.ts), and places of requests (limits.ts), which bound how many there are and not how large.
import type { ServerResponse } from "node:http";
import type { Party } from "./preemption.ts";

/** A quarter of what a small machine has; usual manifests and pages are a few kilobytes, and the kernel takes them at once. */
export const MAX_UNREAD_BYTES = 128 * 1024 * 1024;

/** What is known of an answer that lies there. */
interface Lying {
  readonly party: Party;
  readonly response: Pick<ServerResponse, "destroy">;
  readonly sizeBytes: number;
}

/** Keeps count of them. */
export interface UnreadAnswers {
  /**
   * Counts an answer until the function that it gives is called. Breaks off others, or this one, where there is too much: first of the address
   * that holds most, and there who came first.
   */
  hold(party: Party, response: Pick<ServerResponse, "destroy">, sizeBytes: number): () => void;
}

/** Makes the count. */
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
    // A set keeps the order in which they came.
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
