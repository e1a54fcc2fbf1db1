// A change of an account by another process is reported once, and one of this process is not; a change invalidates only the cached values
// that it affects. Not here: how soon rights end
// (authenticate.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Database } from "../platform/database/database.ts";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { addUser, createTestClock } from "./access.testing.ts";
import { findAccount, insertAccount, updateAccount } from "./account-store.ts";
import { createAccounts, type Changed } from "./accounts.ts";

/** Nothing waits for the line but this. */
const WRITE_DELAY_MS = 10;

forEachDatabase("accounts that are changed elsewhere", (create) => {
  it("are told of once where they were in use, and not where they were changed here", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const { database } = test;
    const clock = createTestClock();
    const id = await addUser(database, "mona");
    const told: string[] = [];
    const accounts = createAccounts({
      database,
      clock,
      writeDelayMs: WRITE_DELAY_MS,
      onChangedElsewhere: ({ name }) => void told.push(name),
    });
    const change = (endsTokens: boolean): Promise<void> =>
      database.transaction(async (tx) => updateAccount(tx, (await findAccount(tx, id))!, endsTokens));
    const look = async (): Promise<void> => {
      clock.advance(1_000);
      await accounts.find(id);
      await accounts.findByName("mona");
      // Timers of the same length fire in the order in which they were set.
      await sleep(WRITE_DELAY_MS);
      await sleep(WRITE_DELAY_MS);
    };
    // A change before the account was ever seen cannot be noticed.
    await change(true);
    await look();
    assert.deepEqual(told, []);
    await change(true);
    await look();
    await look();
    assert.deepEqual(told, ["mona"]);
    await change(false);
    await look();
    assert.deepEqual(told, ["mona"]);
    await change(true);
    accounts.forget();
    await look();
    assert.deepEqual(told, ["mona"]);
    // The change was seen before the process that made it here has reported it.
    await change(true);
    const looking = look();
    await accounts.find(id);
    accounts.forget();
    await looking;
    assert.deepEqual(told, ["mona"]);
    await look();
    await change(true);
    await look();
    assert.deepEqual(told, ["mona", "mona"]);
  });
});

forEachDatabase("accounts that are remembered", (create) => {
  it("are looked up anew where they were changed, with what hangs on them, and nobody else is", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const looked: string[] = [];
    const first: Database["first"] = (statement, parameters) => {
      looked.push(JSON.stringify(Object.values(parameters)));
      return test.database.first(statement, parameters);
    };
    // What an account is in a project is one row for itself and one for each of its groups.
    const all: Database["all"] = (statement, parameters) => {
      looked.push(JSON.stringify(Object.values(parameters)));
      return test.database.all(statement, parameters);
    };
    const accounts = createAccounts({ database: { ...test.database, first, all }, clock: createTestClock() });
    const names = ["mona", "lisa"];
    const ids = new Map<string, number>();
    for (const name of names) ids.set(name, await addUser(test.database, name));
    for (const name of ["art", "music"])
      await test.database.script(`insert into project (name, sort_key, is_public, created_at) values ('${name}', '${name}/', 0, 1)`);
    const robot = (await test.database.transaction((tx) =>
      insertAccount(tx, { kind: "robot", name: "art+ci", projectId: 1, secretHash: undefined }, 1),
    ))!;
    const lookAtAll = async (): Promise<string[]> => {
      looked.length = 0;
      for (const name of [...names, "art+ci", "nobody"]) await accounts.findByName(name);
      for (const id of [...ids.values(), robot]) {
        await accounts.find(id);
        for (const project of ["art", "music", "none"]) await accounts.findStanding(id, project);
      }
      await accounts.findStanding(undefined, "art");
      await accounts.findProjectName(1);
      await accounts.findProjectName(2);
      return [...looked];
    };
    const [mona, lisa] = [ids.get("mona")!, ids.get("lisa")!];
    assert.equal((await lookAtAll()).length, 4 + 3 * 4 + 3);
    assert.deepEqual(await lookAtAll(), []);
    const of = (...values: unknown[]): string => JSON.stringify(values);
    const expectations: readonly (readonly [Changed, readonly string[]])[] = [
      [{ account: "mona" }, [of("mona"), of(mona), of(mona, "art"), of(mona, "music"), of(mona, "none")]],
      [{ account: "lisa", project: "art" }, [of("lisa"), of(lisa), of(lisa, "art")]],
      [{ project: "art" }, [of("art+ci"), of(mona, "art"), of(lisa, "art"), of(robot), of(robot, "art"), of(0, "art"), of(1)]],
      // It may exist now; because it was not known, everything that might belong to it is looked up again.
      [
        { account: "nobody" },
        [of("nobody"), ...[mona, lisa, robot].flatMap((id) => ["art", "music", "none"].map((name) => of(id, name))), of(0, "art")],
      ],
      [{ project: "none" }, [of(mona, "none"), of(lisa, "none"), of(robot, "none")]],
    ];
    for (const [changed, expected] of expectations) {
      const before = accounts.changes();
      accounts.forget(changed);
      assert.equal(accounts.changes(), before + 1);
      assert.deepEqual(await lookAtAll(), expected, JSON.stringify(changed));
    }
    accounts.forget();
    assert.equal((await lookAtAll()).length, 4 + 3 * 4 + 3);
  });
});
