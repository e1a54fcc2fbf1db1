// Settings that change at run time: administrators' values are in the database, and every process of the registry applies them within a
// second. Configured values are fixed: an operator maintains their file, and they must not be overruled remotely. Not here: the settings
// (compose/run-time-settings.ts), the operations (settings.ts).
import type { Setting } from "../../config-kinds.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A setting, with its value without the database and the effect of a change. */
export interface RunTimeSetting<T = unknown> {
  readonly path: string;
  readonly setting: Setting<T>;
  /** The value if the database has none. */
  readonly configured: T;
  /** Where the configuration sets it; undefined if it does not, so that this is the default. */
  readonly fixedBy: string | undefined;
  apply(value: T): void;
}

/** A setting as it is now. */
export interface PresentSetting {
  readonly path: string;
  /** As text. */
  readonly value: string;
  readonly configured: string;
  readonly fixedBy: string | undefined;
  readonly isChanged: boolean;
  readonly about: string;
}

/** The settings of one process. */
export interface RunTimeSettings {
  /** Their values in the database, in the order in which they are declared. */
  list(executor: Executor): Promise<PresentSetting[]>;
  find(path: string): RunTimeSetting | undefined;
  /** Sets a known setting to a valid value, or resets it to the configured one (null). Other processes are notified by the commit. */
  put(tx: Executor, path: string, value: string | null): Promise<void>;
  /** Applies the database's present values. */
  look(): Promise<void>;
  /** Polls, and checks when another process has changed something. */
  start(): void;
  stop(): Promise<void>;
}

const TOPIC = "settings";
/** A notice may be lost, and still all apply it within a second. */
const LOOK_EVERY_MS = 800;

const list = statement<Record<never, never>>()("settings.list", (db) => db.selectFrom("setting").select(["path", "value"]), {
  bounded: "a row for each setting that may change at run time",
});
const put = statement<{ path: string; value: string; now: number }>()("settings.put", (db, p) =>
  db
    .insertInto("setting")
    .values({ path: p.path, value: p.value, changed_at: p.now })
    .onConflict((conflict) => conflict.column("path").doUpdateSet({ value: p.value, changed_at: p.now })),
);
const remove = statement<{ path: string }>()("settings.remove", (db, p) => db.deleteFrom("setting").where("path", "=", p.path));

/** What they need. */
export interface RunTimeSettingsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly settings: readonly RunTimeSetting[];
  /**
   * Called once for a value in the database that this program does not understand, such as one of a newer program; the configured one
   * applies.
   */
  readonly onUnknown?: (path: string, problem: string) => void;
}

/** Creates the settings that change at run time. */
export function createRunTimeSettings({ database, clock, settings, onUnknown }: RunTimeSettingsParts): RunTimeSettings {
  const applied = new Map<string, unknown>(settings.map(({ path, configured }) => [path, configured]));
  const reported = new Set<string>();
  let timer: NodeJS.Timeout | undefined;
  let unsubscribe: (() => void) | undefined;
  let looking = Promise.resolve();

  async function readAll(executor: Executor): Promise<ReadonlyMap<string, string>> {
    return new Map((await executor.all(list, {})).map(({ path, value }) => [path, value]));
  }

  /** The effective value of a setting, given the database's. */
  function valueOf(
    { path, setting, configured, fixedBy }: RunTimeSetting,
    raw: string | undefined,
  ): { value: unknown; isChanged: boolean } {
    if (raw === undefined || fixedBy !== undefined) return { value: configured, isChanged: false };
    const parsed = setting.parse(raw, { directory: "/" });
    if (parsed.ok) return { value: parsed.value, isChanged: true };
    if (!reported.has(path)) {
      reported.add(path);
      onUnknown?.(path, parsed.problem);
    }
    return { value: configured, isChanged: false };
  }

  async function lookOnce(): Promise<void> {
    const rows = await readAll(database);
    for (const each of settings) {
      const { value } = valueOf(each, rows.get(each.path));
      if (value === applied.get(each.path)) continue;
      applied.set(each.path, value);
      each.apply(value);
    }
  }

  // One at a time, so that an older answer is never applied after a newer one.
  function look(): Promise<void> {
    const next = looking.then(lookOnce);
    looking = next.catch(() => undefined);
    return next;
  }

  // An unreachable database is reported by its users; present values stay.
  const lookQuietly = (): void => void look().catch(() => undefined);

  return {
    async list(executor) {
      const rows = await readAll(executor);
      return settings.map((each) => {
        const { value, isChanged } = valueOf(each, rows.get(each.path));
        const { path, setting, configured, fixedBy } = each;
        return { path, value: setting.show(value), configured: setting.show(configured), fixedBy, isChanged, about: setting.about };
      });
    },
    find: (path) => settings.find((each) => each.path === path),
    async put(tx, path, value) {
      if (value === null) await tx.run(remove, { path }, { any: "it may not have been changed" });
      else await tx.run(put, { path, value, now: clock.now() }, 1);
      tx.notify?.(TOPIC);
    },
    look,
    start() {
      unsubscribe ??= database.subscribe?.(TOPIC, lookQuietly);
      timer ??= setInterval(lookQuietly, LOOK_EVERY_MS);
      timer.unref();
    },
    async stop() {
      clearInterval(timer);
      unsubscribe?.();
      await looking;
    },
  };
}
