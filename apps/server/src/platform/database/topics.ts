// Topics: a transaction notifies a topic, and after its commit the subscribers of that topic are called: in this process at once, in the
// other processes of the database within moments. A notice may be lost with a process or a connection, so subscribers also poll. Not here:
// how a notice reaches other processes (postgres-channel.ts), and the topics.
import { randomBytes } from "node:crypto";
import type { Database } from "./database.ts";

/** Other processes are notified at most this often: PostgreSQL serializes the commits of transactions that notify. */
const SEND_EVERY_MS = 20;

/** Adds topics to a database's transactions. `onError` is called when other processes could not be notified. */
export function withTopics(database: Database, onError: (error: unknown) => void): Database {
  // A message is also delivered to its sender.
  const sender = randomBytes(8).toString("hex");
  const subscribers = new Map<string, Set<() => void>>();
  const unsent = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> | undefined;
  let stopListening: (() => Promise<void>) | undefined;

  function call(topic: string): void {
    for (const subscriber of subscribers.get(topic) ?? []) subscriber();
  }

  async function send(topics: readonly string[]): Promise<void> {
    try {
      for (const topic of topics) await database.broadcast?.(`${sender} ${topic}`);
    } catch (error) {
      onError(error);
    }
  }

  function sendSoon(): void {
    if (timer !== undefined || unsent.size === 0) return;
    const topics = [...unsent];
    unsent.clear();
    sending = send(topics);
    timer = setTimeout(() => {
      timer = undefined;
      sendSoon();
    }, SEND_EVERY_MS);
    timer.unref();
  }

  function publish(topics: ReadonlySet<string>): void {
    for (const topic of topics) {
      call(topic);
      if (database.broadcast !== undefined) unsent.add(topic);
    }
    sendSoon();
  }

  return {
    ...database,
    async transaction(work, options) {
      const notified = new Set<string>();
      const result = await database.transaction((tx) => {
        // The attempt was rolled back because of a conflict, so it has notified nothing.
        notified.clear();
        return work({ ...tx, notify: (topic) => void notified.add(topic) });
      }, options);
      if (notified.size > 0) publish(notified);
      return result;
    },
    subscribe(topic, subscriber) {
      const ofTopic = subscribers.get(topic) ?? new Set();
      subscribers.set(topic, ofTopic.add(subscriber));
      stopListening ??= database.listen?.((word) => {
        if (word === undefined) for (const each of subscribers.keys()) call(each);
        else if (!word.startsWith(sender)) call(word.slice(word.indexOf(" ") + 1));
      });
      return () => void ofTopic.delete(subscriber);
    },
    async close() {
      clearTimeout(timer);
      await sending;
      await stopListening?.();
      await database.close();
    },
  };
}
