// Topics: a transaction notifies a topic, and after its commit the subscribers of that topic are called: in this process at once, in the other
// processes of the database within moments. A message may get lost with a process or a connection, so subscribers also look by themselves.
// Not here: how a message crosses to other processes (postgres-channel.ts), and what is notified.
import { randomBytes } from "node:crypto";
import type { Database } from "./database.ts";

/** Other processes are notified this often at most: PostgreSQL makes the commits of those that notify wait for each other. */
const SEND_EVERY_MS = 20;

/** Lets transactions of a database notify topics. `onError` is called when other processes could not be notified. */
export function withTopics(database: Database, onError: (error: unknown) => void): Database {
  // A message comes back to its sender as well.
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
        // A try that was in others' way has notified nothing.
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
