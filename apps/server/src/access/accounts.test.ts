// That a change of an account by another process is told of, once, and one of this process is not. Not here: how soon rights end
// (authenticate.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { addUser, createTestClock } from "./access.testing.ts";
import { findAccount, updateAccount } from "./account-store.ts";
import { createAccounts } from "./accounts.ts";

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
      // Timers of one length end in the order in which they began.
      await sleep(WRITE_DELAY_MS);
      await sleep(WRITE_DELAY_MS);
    };
    // Before it was ever seen, nobody can tell.
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
    // Seen before whoever made it here has said so.
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
