// Logins of programs by device, on every engine: what is given for a code, once, to whom, and when it is over. Not here: pages and the command line
// (test/flows/device-login.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { DAY_MS, SECOND_MS } from "../platform/clock.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import {
  addUser,
  callerOf,
  changeAccount,
  createTestAccess,
  createTestClock,
  type TestAccess,
  type TestClock,
  TEST_ADDRESS,
} from "./access.testing.ts";
import type { AccountChange } from "./account-changes.ts";
import type { AccountCaller } from "./caller.ts";
import { createDeviceLogins, type DeviceLogins } from "./device-logins.ts";

const ORIGIN = { requestId: "r1", address: "192.0.2.9" };

forEachDatabase("device logins", (create) => {
  let test: TestDatabase;
  let clock: TestClock;
  let access: TestAccess;
  let devices: DeviceLogins;
  let ann: AccountCaller;
  const recorded: AccountChange[] = [];
  before(async () => {
    test = await create();
    clock = createTestClock();
    access = createTestAccess(test.database, clock);
    const changes = {
      wants: () => true,
      record: async (_: unknown, __: unknown, found: readonly AccountChange[]) => void recorded.push(...found),
    };
    devices = createDeviceLogins({ database: test.database, clock, changes, maxDays: 30 });
    ann = await callerOf(test.database, await addUser(test.database, "ann"));
  });
  after(() => test.end());

  async function begin() {
    const begun = await devices.begin("berth on laptop", ORIGIN);
    assert.ok(begun !== undefined);
    return begun;
  }
  async function wordOf(code: string): Promise<string> {
    const polled = await devices.poll(code, ORIGIN);
    return "error" in polled ? polled.error : "given";
  }

  it("gives a token to the program whose code was allowed, once, for as long as tokens last", async () => {
    const { deviceCode, userCode } = await begin();
    assert.match(userCode, /^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
    assert.equal(await wordOf(deviceCode), "authorization_pending");
    assert.equal(await wordOf(deviceCode), "slow_down");
    clock.advance(5 * SECOND_MS);
    assert.equal(await wordOf(deviceCode), "authorization_pending");
    const asked = await devices.find(` ${userCode.toLowerCase().replace("-", " ")} `);
    assert.deepEqual([asked?.client, asked?.address, asked?.days], ["berth on laptop", ORIGIN.address, 30]);
    assert.equal(await devices.decide(userCode, ann, true), true);
    assert.equal(await devices.decide(userCode, ann, false), false);
    assert.equal(await devices.find(userCode), undefined);
    const polled = await devices.poll(deviceCode, ORIGIN);
    assert.ok("secret" in polled, JSON.stringify(polled));
    assert.equal(polled.user, "ann");
    assert.equal(polled.expiresAt.getTime(), clock.now() + 30 * DAY_MS);
    assert.equal((await access.authenticator.authenticateSecret("ann", polled.secret, TEST_ADDRESS)).via.kind, "personal-token");
    assert.deepEqual(
      recorded.map(({ kind }) => kind),
      ["token.created"],
    );
    assert.equal(await wordOf(deviceCode), "expired_token");
  });

  it("gives one token to many polls at a time", async () => {
    const { deviceCode, userCode } = await begin();
    await devices.decide(userCode, ann, true);
    const words = await Promise.all(Array.from({ length: 6 }, () => wordOf(deviceCode)));
    assert.deepEqual(
      words.filter((word) => word === "given"),
      ["given"],
    );
  });

  it("gives nothing where it was denied, is over, or the account changed since", async () => {
    const denied = await begin();
    await devices.decide(denied.userCode, ann, false);
    assert.equal(await wordOf(denied.deviceCode), "access_denied");
    const late = await begin();
    const lateApproved = await begin();
    await devices.decide(lateApproved.userCode, ann, true);
    clock.advance(601 * SECOND_MS);
    assert.equal(await devices.find(late.userCode), undefined);
    assert.equal(await devices.decide(late.userCode, ann, true), false);
    assert.equal(await wordOf(late.deviceCode), "expired_token");
    assert.equal(await wordOf(lateApproved.deviceCode), "expired_token");
    const stale = await begin();
    await devices.decide(stale.userCode, ann, true);
    await changeAccount(test.database, ann.accountId, {}, true);
    assert.equal(await wordOf(stale.deviceCode), "access_denied");
    ann = await callerOf(test.database, ann.accountId);
    const disabled = await begin();
    await devices.decide(disabled.userCode, ann, true);
    await changeAccount(test.database, ann.accountId, { isDisabled: true }, false);
    assert.equal(await wordOf(disabled.deviceCode), "access_denied");
    for (const code of ["", "x", "berth_link_x", disabled.userCode, "\0"]) assert.equal(await wordOf(code), "expired_token");
    for (const code of ["", "AAAA-AAAA", "\0", "BCDF-GHJ", "%".repeat(500)]) assert.equal(await devices.find(code), undefined);
  });

  it("are so many at most of one address, and others still begin", async () => {
    clock.advance(601 * SECOND_MS);
    let begun = 0;
    while ((await devices.begin("x", { requestId: "r", address: "192.0.2.66" })) !== undefined) begun++;
    assert.equal(begun, 50);
    assert.ok((await devices.begin("x", ORIGIN)) !== undefined);
  });
});
