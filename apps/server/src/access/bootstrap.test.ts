// The first start: once and completely, however many replicas start together; and the master key's file.
import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { parseProjectName } from "@berth/oci/reference";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import { basic, createTestAccess, createTestClock, TEST_ADDRESS } from "./access.testing.ts";
import type { AccountChange } from "./account-changes.ts";
import { bootstrap } from "./bootstrap.ts";
import type { ChangeSink } from "./changes.ts";
import { loadOrCreateMasterKey, parseMasterKey } from "./master-key.ts";
import { NO_SIGN_IN } from "./sign-in.ts";

/** A sink that keeps its changes. */
function sinkOf(said: string[]): ChangeSink<AccountChange> {
  return { wants: () => true, record: async (_, actor, changes) => void said.push(...changes.map(({ kind }) => `${actor.kind} ${kind}`)) };
}

forEachDatabase("bootstrap", (create) => {
  it("creates the administrator and the library once, for replicas that start together", async () => {
    const test = await create();
    try {
      const clock = createTestClock();
      const databases = [test.database, await test.open(), await test.open()];
      const replicas = databases.map((database) => ({ database, access: createTestAccess(database, clock) }));
      const said: string[] = [];
      const changes = sinkOf(said);
      const results = await Promise.all(
        replicas.map(({ database, access }) =>
          bootstrap({ database, clock, passwords: access.passwords, administratorPassword: undefined, defaultProject: undefined, changes }),
        ),
      );
      const created = results.filter((result) => result.created);
      assert.equal(created.length, 1);
      assert.deepEqual(said, ["system user.created", "system project.created", "system member.changed"]);
      const password = created[0]!.generatedPassword!;
      assert.ok(password.length >= 24);
      const { access } = replicas[1]!;
      const caller = await access.authenticator.authenticate(basic("admin", password), TEST_ADDRESS);
      assert.equal(caller.kind === "account" && caller.isAdmin, true);
      const library = await access.authorizer.authorizeProject(
        { kind: "anonymous", via: NO_SIGN_IN, access: undefined },
        "project.read",
        parseProjectName("library"),
      );
      assert.equal(library.isPublic, true);
      assert.deepEqual(
        await bootstrap({
          database: test.database,
          clock,
          passwords: access.passwords,
          administratorPassword: "another password",
          defaultProject: undefined,
          changes,
        }),
        { created: false },
      );
    } finally {
      await test.end();
    }
  });

  it("takes the configured password, and refuses one that is too short", async () => {
    const test = await create();
    try {
      const clock = createTestClock();
      const { passwords, authenticator, authorizer } = createTestAccess(test.database, clock);
      const options = { database: test.database, clock, passwords, defaultProject: parseProjectName("apps"), changes: sinkOf([]) };
      await assert.rejects(bootstrap({ ...options, administratorPassword: "short" }), { code: "REQUEST_INVALID" });
      assert.deepEqual(await bootstrap({ ...options, administratorPassword: "long enough" }), {
        created: true,
        generatedPassword: undefined,
      });
      const administrator = await authenticator.authenticate(basic("admin", "long enough"), TEST_ADDRESS);
      assert.equal(administrator.kind, "account");
      // The project of names with one segment exists from the start.
      assert.equal((await authorizer.authorizeProject(administrator, "project.read", "apps")).isPublic, true);
      await assert.rejects(authorizer.authorizeProject(administrator, "project.read", "library"), { code: "PROJECT_UNKNOWN" });
    } finally {
      await test.end();
    }
  });
});

describe("master key", () => {
  it("is created once, whole and private, for processes that start together", async () => {
    const folder = await mkdtemp(join(tmpdir(), "berth-key-"));
    try {
      const path = join(folder, "secret-key");
      const keys = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateMasterKey(path)));
      assert.equal(new Set(keys.map((key) => Buffer.from(key).toString("hex"))).size, 1);
      assert.equal(keys[0]!.length, 32);
      assert.equal((await stat(path)).mode & 0o777, 0o600);
      assert.deepEqual(await readdir(folder), ["secret-key"]);
      assert.deepEqual(parseMasterKey(await readFile(path, "utf8")), keys[0]);
      await writeFile(path, "damaged");
      await assert.rejects(loadOrCreateMasterKey(path), /not 32 bytes/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("is read as hexadecimal or base64, and never shown when it is neither", () => {
    const key = Buffer.alloc(32, 0xfb);
    for (const text of [key.toString("hex"), key.toString("base64"), key.toString("base64url"), `${key.toString("hex")}\n`]) {
      assert.deepEqual(Buffer.from(parseMasterKey(text)), key);
    }
    assert.throws(
      () => parseMasterKey("hunter2"),
      (error: Error) => !error.message.includes("hunter2"),
    );
  });
});
