// Settings that change at run time, as administrators see and change them. Not here: storing and applying them (run-time.ts).
import { ApiError } from "@berth/api/errors";
import type { SettingsChange, SettingView } from "@berth/api/settings";
import type { ChangeSink } from "../../access/changes.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import { grantedTransaction } from "../../access/granted-transaction.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import type { PresentSetting, RunTimeSettings } from "./run-time.ts";

/** What can happen to settings, as records name it. */
export interface SettingChange {
  readonly kind: "setting.changed";
  /** What counted, and what counts; where the value says null, what is configured. */
  readonly before: { readonly setting: string; readonly value: string };
  readonly setting: string;
  readonly value: string | null;
}

/** What the rules need. */
export interface SettingsParts {
  readonly changes: ChangeSink<SettingChange>;
  readonly database: Database;
  readonly runTimeSettings: RunTimeSettings;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Settings {
  list(grant: AccountGrant): Promise<{ items: SettingView[] }>;
  update(grant: AccountGrant, change: SettingsChange): Promise<{ items: SettingView[] }>;
}

/** Creates the rules. */
export function createSettings({ database, runTimeSettings, changes: sink }: SettingsParts): Settings {
  const views = async (executor: Executor): Promise<{ items: SettingView[] }> => ({
    items: (await runTimeSettings.list(executor)).map(toView),
  });

  function check(path: string, value: string | null): void {
    const found = runTimeSettings.find(path);
    if (found === undefined) throw new ApiError("SETTING_INVALID", { detail: { setting: path, problem: "is not changed at run time" } });
    if (found.fixedBy !== undefined) throw new ApiError("SETTING_FIXED", { detail: { setting: path, fixedBy: found.fixedBy } });
    const parsed = value === null ? undefined : found.setting.parse(value, { directory: "/" });
    if (parsed?.ok === false) throw new ApiError("SETTING_INVALID", { detail: { setting: path, problem: parsed.problem } });
  }

  return {
    list: () => views(database),
    async update(grant, change) {
      const changes = Object.entries(change).filter((each): each is [string, string | null] => each[1] !== undefined);
      for (const [path, value] of changes) check(path, value);
      const result = await grantedTransaction(
        database,
        grant,
        async (tx, { actor }) => {
          const before = new Map((await runTimeSettings.list(tx)).map((each) => [each.path, each.value]));
          for (const [path, value] of changes) await runTimeSettings.put(tx, path, value);
          const said = changes.map(([setting, value]): SettingChange => {
            return { kind: "setting.changed", before: { setting, value: before.get(setting) ?? "" }, setting, value };
          });
          await sink.record(tx, actor, said);
          return views(tx);
        },
        ON_FULL_DISK,
      );
      await runTimeSettings.look();
      return result;
    },
  };
}

function toView({ path, value, configured, fixedBy, isChanged, about }: PresentSetting): SettingView {
  const source = fixedBy !== undefined ? "configuration" : isChanged ? "api" : "default";
  return { path, value, configured, source, fixedBy: fixedBy ?? null, about };
}
