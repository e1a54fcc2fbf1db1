// Messages between the processes of one PostgreSQL: a connection that listens, and is opened again whenever it breaks. Not here: the
// messages' meaning (topics.ts), which server is the primary (postgres-pool.ts).
import type pg from "pg";

/** The parts that the channel needs. */
export interface PostgresChannelParts {
  /** Opens a connection to the primary that only this channel uses. */
  readonly connect: () => Promise<pg.Client>;
  readonly name: string;
  /** Called with each message; with undefined when it begins to listen and may have missed some. */
  readonly onNotice: (word: string | undefined) => void;
  /** Called once for each break, however often reconnecting fails. */
  readonly onError: (error: unknown) => void;
}

const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 15_000;
/** A silent connection may be dead, or its server a standby by now, so it is checked this often. */
const LOOK_EVERY_MS = 30_000;

/** Listens until it is stopped. */
export function openPostgresChannel({ connect, name, onNotice, onError }: PostgresChannelParts): { stop(): Promise<void> } {
  let isStopped = false;
  let wake: (() => void) | undefined;

  async function rest(ms: number): Promise<void> {
    if (isStopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      timer.unref();
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    wake = undefined;
  }

  /** Listens on one connection until it breaks or the channel stops. */
  async function listen(onListening: () => void): Promise<void> {
    const client = await connect();
    let broken: Error | undefined;
    const isBroken = (error?: Error): void => {
      broken ??= error ?? new Error("the connection ended");
      wake?.();
    };
    client.on("error", isBroken);
    client.on("end", () => isBroken());
    client.on("notification", ({ payload }) => onNotice(payload ?? ""));
    try {
      await client.query(`listen ${name}`);
      onListening();
      for (;;) {
        if (broken === undefined) await rest(LOOK_EVERY_MS);
        if (isStopped) return;
        if (broken !== undefined) throw broken;
        const { rows } = await client.query<{ isStandby: boolean }>('select pg_is_in_recovery() as "isStandby"');
        if (rows[0]?.isStandby === true) throw new Error("the server is a standby");
      }
    } finally {
      // The connection may be dead: nobody waits for its clean end.
      client.end().catch(() => undefined);
    }
  }

  async function run(): Promise<void> {
    let delayMs = FIRST_RETRY_MS;
    while (!isStopped) {
      try {
        await listen(() => {
          onNotice(undefined);
          delayMs = FIRST_RETRY_MS;
        });
      } catch (error) {
        if (isStopped) return;
        if (delayMs === FIRST_RETRY_MS) onError(error);
        await rest(delayMs);
        delayMs = Math.min(delayMs * 2, MAX_RETRY_MS);
      }
    }
  }

  const running = run();
  return {
    async stop() {
      isStopped = true;
      wake?.();
      await running;
    },
  };
}
