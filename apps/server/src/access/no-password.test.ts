// Accounts without a password of their own: no password signs them in, also if a migration back has given their rows what older programs
// require. Not here: that the refusal has the same work and text (same-work.test.ts), creating such accounts (features/accounts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { systemClock } from "../platform/clock.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { findLosses } from "../platform/database/losses.ts";
import { LATEST_MIGRATION, migrate } from "../platform/database/migrate.ts";
import { noPassword } from "../platform/database/migrations/20261126021300-access-no-password.ts";
import { basic, createTestAccess, createTestClock, TEST_ADDRESS, TEST_PASSWORD } from "./access.testing.ts";
import { findAccountByName, insertAccount, lockAccount, lockAdministrators, updateAccount } from "./account-store.ts";
import { createPasswordHasher, generateSecret, verifySecret } from "./secrets.ts";

/** The previous step. */
const BEFORE = 15;

forEachDatabase("accounts without a password", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
    await test.database.transaction(async (tx) => {
      await insertAccount(tx, { kind: "user", name: "federated", secretHash: undefined, systemRole: "administrator" }, 1);
      await insertAccount(tx, { kind: "robot", name: "+service", secretHash: undefined }, 1);
    });
  });
  after(() => test.end());

  const refuses = async (name: string, secret: string): Promise<void> => {
    const { authenticator } = createTestAccess(test.database, createTestClock());
    await assert.rejects(async () => authenticator.authenticate(basic(name, secret), TEST_ADDRESS), { code: "UNAUTHORIZED" });
  };

  it("are signed in by no password and no secret, and are nobody's last administrator", async () => {
    for (const secret of ["", "null", "undefined", TEST_PASSWORD]) await refuses("federated", secret);
    await refuses("+service", generateSecret("robot"));
    assert.deepEqual(await test.database.transaction((tx) => lockAdministrators(tx)), []);
  });

  it("can be given one, and lose it again", async () => {
    const hash = await createPasswordHasher().hash(TEST_PASSWORD);
    const set = (secretHash: string | undefined) =>
      test.database.transaction(async (tx) => {
        const { id } = (await findAccountByName(tx, "federated"))!;
        await updateAccount(tx, { ...(await lockAccount(tx, id))!, secretHash }, true);
      });
    await set(hash);
    const { authenticator } = createTestAccess(test.database, createTestClock());
    assert.equal((await authenticator.authenticate(basic("federated", TEST_PASSWORD), TEST_ADDRESS)).kind, "account");
    await set(undefined);
    await refuses("federated", TEST_PASSWORD);
  });

  it("stay closed when the database is taken back to programs that know no such accounts, and when it comes again", async () => {
    const [loss] = await findLosses(test.database, noPassword.id, BEFORE);
    assert.match(loss!.what, /no password of their own/);
    assert.deepEqual(loss!.destroyed, []);
    await migrate(test.database, systemClock, BEFORE);
    const [user, robot] = await Promise.all(["federated", "+service"].map((name) => findAccountByName(test.database, name)));
    // As those programs verify it: without an error, and without success.
    assert.equal(await createPasswordHasher().verify(TEST_PASSWORD, user!.secretHash), false);
    assert.ok(user!.secretHash!.startsWith("$argon2id$"));
    assert.equal(verifySecret(generateSecret("robot"), robot!.secretHash), false);
    await assert.rejects(test.database.script("update account set secret_hash = null where name = 'federated'"));
    await migrate(test.database, systemClock, LATEST_MIGRATION);
    await refuses("federated", TEST_PASSWORD);
    await test.database.script("update account set secret_hash = null where name = 'federated'");
  });
});
