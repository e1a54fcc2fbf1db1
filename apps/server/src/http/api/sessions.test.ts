// Sessions of browsers and time, on every engine: one ends when it is not used for long, in the end anyway, and is at most one of a hundred. Not here: what
// else ends one (test/flows/sessions.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addUser, createTestClock, TEST_PASSWORD, type TestClock } from "../../access/access.testing.ts";
import { MAX_CREDENTIALS } from "../../access/credential-store.ts";
import { HOUR_MS } from "../../platform/clock.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

forEachDatabase("sessions and time", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let api: TestApi;

  before(async () => {
    test = await create();
    clock = createTestClock();
    api = await startTestApi(test.database, clock);
    await addUser(test.database, "alice");
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  async function signIn(): Promise<string> {
    const answer = await api.call(undefined, "POST", "/session", { name: "alice", password: TEST_PASSWORD });
    assert.equal(answer.status, 201);
    return answer.headers.getSetCookie()[0]!.split(";")[0]!;
  }
  const use = async (cookie: string): Promise<number> => (await api.call(undefined, "GET", "/users/me", undefined, { cookie })).status;

  it("end twelve hours after they were used last, and a week after they began", async () => {
    const used = await signIn();
    const unused = await signIn();
    for (let hours = 0; hours < 164; hours += 11) {
      clock.advance(11 * HOUR_MS);
      assert.equal(await use(used), 200, `after ${hours} hours`);
      await api.access.credentialUse.flush();
      if (hours > 0) assert.equal(await use(unused), 401);
    }
    clock.advance(4 * HOUR_MS);
    assert.equal(await use(used), 401);
    assert.deepEqual((await api.call(["alice", TEST_PASSWORD], "GET", "/users/me/sessions")).body.items, []);
  });

  it("push out the one that was not used for longest, where a user has too many", async () => {
    const first = await signIn();
    clock.advance(1000);
    const second = await signIn();
    for (let count = 2; count < MAX_CREDENTIALS; count++) await signIn();
    clock.advance(1000);
    assert.equal(await use(first), 200);
    await api.access.credentialUse.flush();
    await signIn();
    assert.deepEqual([await use(first), await use(second)], [200, 401]);
  });
});
