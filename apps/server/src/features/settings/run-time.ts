// Settings that change while everything runs: what administrators have set lies in the database, and every process of the registry goes by it within
// a second. What the configuration gives is fixed: it stands in a file that somebody keeps, and must not be overruled from afar.
// Not here: which settings (compose/run-time-settings.ts), the operations (settings.ts).
import type { Setting } from "../../config-kinds.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A setting, with what it is without the database and what a change of it does. */
export interface RunTimeSetting<T = unknown> {
  readonly path: string;
  readonly setting: Setting<T>;
  /** What counts where the database says nothing. */
  readonly configured: T;
  /** Where the configuration gives it; undefined where it does not, so that it is the default. */
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
  /** As they are in the database, in the order in which they are declared. */
  list(executor: Executor): Promise<PresentSetting[]>;
  find(path: string): RunTimeSetting | undefined;
  /** Sets one that was found and whose value is right, or lets what is configured count again (null). Others hear of it with the commit. */
  put(tx: Executor, path: string, value: string | null): Promise<void>;
  /** Goes by what the database has now. */
  look(): Promise<void>;
  /** Looks now and then, and when another process has changed something. */
  start(): void;
  stop(): Promise<void>;
}

const TOPIC = "settings";
/** Word of a change may get lost, and within a second all go by it all the same. */
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
  /** Told once of a value in the database that this program does not understand, as one of a newer program; what is configured counts. */
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

  /** What counts of a setting, given what the database has. */
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

  // One after the other, so that an older answer is never applied after a newer one.
  function look(): Promise<void> {
    const next = looking.then(lookOnce);
    looking = next.catch(() => undefined);
    return next;
  }

  // A database that is out of reach is told of by whoever needs it; what counted goes on to count.
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
