// Word of what was committed: a transaction tells a topic, and after its commit whoever hears that topic is called, in this process at once and
// in the other processes of the database within moments. Word may get lost with a process or a connection, so that hearers look by themselves
// as well. Not here: how it crosses to other processes (postgres-channel.ts), what is told.
import { randomBytes } from "node:crypto";
import type { Database } from "./database.ts";

/** Others are told this often at most: PostgreSQL makes the commits of those that tell wait for each other. */
const TELL_EVERY_MS = 20;

/** Lets transactions of a database tell topics. `onError` hears that others could not be told. */
export function withTopics(database: Database, onError: (error: unknown) => void): Database {
  // Word comes back to who sent it, too.
  const sender = randomBytes(8).toString("hex");
  const hearers = new Map<string, Set<() => void>>();
  const untold = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<void> | undefined;
  let stopHearing: (() => Promise<void>) | undefined;

  function call(topic: string): void {
    for (const hearer of hearers.get(topic) ?? []) hearer();
  }

  async function send(topics: readonly string[]): Promise<void> {
    try {
      for (const topic of topics) await database.tellOthers?.(`${sender} ${topic}`);
    } catch (error) {
      onError(error);
    }
  }

  function tellOthers(): void {
    if (timer !== undefined || untold.size === 0) return;
    const topics = [...untold];
    untold.clear();
    sending = send(topics);
    timer = setTimeout(() => {
      timer = undefined;
      tellOthers();
    }, TELL_EVERY_MS);
    timer.unref();
  }

  function tell(topics: ReadonlySet<string>): void {
    for (const topic of topics) {
      call(topic);
      if (database.tellOthers !== undefined) untold.add(topic);
    }
    tellOthers();
  }

  return {
    ...database,
    async transaction(work, options) {
      const told = new Set<string>();
      const result = await database.transaction((tx) => {
        // A try that was in others' way has told nothing.
        told.clear();
        return work({ ...tx, tell: (topic) => void told.add(topic) });
      }, options);
      if (told.size > 0) tell(told);
      return result;
    },
    hear(topic, hearer) {
      const ofTopic = hearers.get(topic) ?? new Set();
      hearers.set(topic, ofTopic.add(hearer));
      stopHearing ??= database.hearOthers?.((word) => {
        if (word === undefined) for (const each of hearers.keys()) call(each);
        else if (!word.startsWith(sender)) call(word.slice(word.indexOf(" ") + 1));
      });
      return () => void ofTopic.delete(hearer);
    },
    async close() {
      clearTimeout(timer);
      await sending;
      await stopHearing?.();
      await database.close();
    },
  };
}
