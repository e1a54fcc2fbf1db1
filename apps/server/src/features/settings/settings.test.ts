// Settings that change at run time, on every engine: who applies them and when, what is fixed, what is refused, and the reaction to a value
// that a program does not understand. Not here: the effect of each setting (test/flows/run-time-settings.test.ts).
import assert from "node:assert/strict";
import { afterEach, beforeEach, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SettingsChange } from "@berth/api/settings";
import { addUser, createTestAccess, createTestClock } from "../../access/access.testing.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import { oneOf } from "../../config-kinds.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { withTopics } from "../../platform/database/topics.ts";
import { createRunTimeSettings, type RunTimeSettings } from "./run-time.ts";
import { createSettings, type Settings } from "./settings.ts";
import { BY_PASSWORD } from "../../access/sign-in.ts";

const COLOURS = oneOf(["red", "green", "blue"], { standard: "red", about: "A colour." });

interface Replica {
  readonly settings: Settings;
  readonly runTime: RunTimeSettings;
  /** Every colour that it applied since it began. */
  readonly seen: string[];
  readonly unknown: string[];
  grant(): Promise<AccountGrant>;
}

forEachDatabase("settings at run time", (create) => {
  let test: TestDatabase;
  let stops: (() => Promise<void>)[];
  const clock = createTestClock();
  beforeEach(async () => {
    test = await create();
    stops = [];
    await addUser(test.database, "root", { isAdmin: true });
  });
  afterEach(async () => {
    for (const stop of stops.toReversed()) await stop();
    await test.end();
  });

  async function start(fixedBy?: string): Promise<Replica> {
    // The test ends the pool; what listens ends with the replica.
    const database: Database = withTopics({ ...(await test.open()), close: async () => undefined }, (error) => {
      throw error;
    });
    stops.push(() => database.close());
    const seen: string[] = [];
    const unknown: string[] = [];
    const runTime = createRunTimeSettings({
      database,
      clock,
      settings: [{ path: "log.level", setting: COLOURS, configured: "red", fixedBy, apply: (value) => void seen.push(String(value)) }],
      onUnknown: (path, problem) => void unknown.push(`${path} ${problem}`),
    });
    await runTime.look();
    runTime.start();
    stops.push(() => runTime.stop());
    const { authorizer } = createTestAccess(database, clock);
    const account = (await test.database.session((run) => run("select id, epoch from account where name = 'root'")))[0]!;
    return {
      settings: createSettings({ database, runTimeSettings: runTime, changes: { wants: () => false, record: async () => undefined } }),
      runTime,
      seen,
      unknown,
      grant: () =>
        authorizer.authorizeAdministrator({
          kind: "account",
          accountId: Number(account["id"]),
          name: "root",
          isAdmin: true,
          epoch: Number(account["epoch"]),
          via: BY_PASSWORD,
          access: undefined,
        }),
    };
  }

  const change = async (on: Replica, value: string | null): Promise<string> => {
    const change: SettingsChange = { "log.level": value };
    const { items } = await on.settings.update(await on.grant(), change);
    return items.map((each) => `${each.value} ${each.source}`).join();
  };
  const until = async (isTrue: () => boolean): Promise<void> => {
    while (!isTrue()) await sleep(10);
  };

  it("count at once where they were changed, and soon everywhere, until what is configured counts again", async () => {
    const [one, other] = [await start(), await start()];
    assert.deepEqual(one.seen, []);
    assert.equal(await change(one, "green"), "green api");
    assert.deepEqual(one.seen, ["green"]);
    await until(() => other.seen.at(-1) === "green");
    assert.equal(await change(other, "blue"), "blue api");
    await until(() => one.seen.at(-1) === "blue");
    assert.equal((await one.settings.list(await one.grant())).items[0]?.value, "blue");
    // Whoever starts later goes by it as well.
    assert.deepEqual((await start()).seen, ["blue"]);
    assert.equal(await change(one, null), "red default");
    await until(() => other.seen.at(-1) === "red");
    assert.deepEqual(one.seen, ["green", "blue", "red"]);
  });

  it("reach who has missed the word of a change", async () => {
    const one = await start();
    await test.database.script("insert into setting (path, value, changed_at) values ('log.level', 'green', 1)");
    await until(() => one.seen.at(-1) === "green");
  });

  it("are fixed where the configuration gives them, whatever the database has, and say by what", async () => {
    await change(await start(), "green");
    const fixed = await start("berth.yaml:3");
    assert.deepEqual(fixed.seen, []);
    const [item] = (await fixed.settings.list(await fixed.grant())).items;
    assert.deepEqual([item?.value, item?.source, item?.fixedBy], ["red", "configuration", "berth.yaml:3"]);
    await assert.rejects(change(fixed, "blue"), { code: "SETTING_FIXED", detail: { setting: "log.level", fixedBy: "berth.yaml:3" } });
  });

  it("refuse what is no value, and change nothing then", async () => {
    const one = await start();
    await assert.rejects(change(one, "purple"), { code: "SETTING_INVALID" });
    const strange = { "http.listen": ":5000" } as SettingsChange;
    await assert.rejects(async () => one.settings.update(await one.grant(), strange), { code: "SETTING_INVALID" });
    assert.deepEqual(await test.database.session((run) => run("select * from setting")), []);
    assert.deepEqual(one.seen, []);
  });

  it("leave what is configured where the database has what this program does not understand, and say so once", async () => {
    await test.database.script(
      "insert into setting (path, value, changed_at) values ('log.level', 'ultraviolet', 1), ('of.a.newer.program', 'x', 1)",
    );
    const one = await start();
    await one.runTime.look();
    assert.deepEqual(one.seen, []);
    assert.equal(one.unknown.length, 1);
    assert.match(one.unknown[0]!, /^log\.level must be one of red, green, blue/);
  });
});
