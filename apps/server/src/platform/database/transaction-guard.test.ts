// The guard detects everything that a transaction may wait for, and nothing else. Not here: the transactions of the program; all tests
// guard them.
import assert from "node:assert/strict";
import { scrypt } from "node:crypto";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, it } from "node:test";
import { setImmediate, setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Database, Executor } from "./database.ts";
import { forEachDatabase, type TestDatabase } from "./databases.testing.ts";
import { statement } from "./statement.ts";
import { TransactionRested, unguarded } from "./transaction-guard.testing.ts";

const list = statement<Record<never, never>>()("test.guard.list", (db) => db.selectFrom("project").select("id"));

forEachDatabase("the guard of transactions", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("passes those that run their statements, one after the other or together, and do work of their own between them", async () => {
    await test.database
      .transaction(async (tx) => {
        await tx.all(list, {});
        await Promise.all([tx.all(list, {}), tx.first(list, {}), tx.all(list, {})]);
        await Promise.resolve();
        await new Promise((resolve) => process.nextTick(resolve));
        await new Promise<void>((resolve) => queueMicrotask(resolve));
        async function* pages(): AsyncGenerator<unknown> {
          for (let i = 0; i < 3; i++) yield await tx.all(list, {});
        }
        for await (const _ of pages());
        await assert.rejects(
          tx.all(
            statement<Record<never, never>>()("test.guard.wrong", (db) => db.selectFrom("absent" as never)),
            {},
          ),
        );
      })
      .catch((error: unknown) => {
        // PostgreSQL ends a transaction whose statement failed, which is no wait.
        assert.ok(!(error instanceof TransactionRested), String(error));
      });
  });

  it("fails those that wait for anything else, wherever they do", async () => {
    const server = createServer((_, response) => void response.end()).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const other = await test.open();
    const waits: Readonly<Record<string, () => Promise<unknown>>> = {
      "a file": () => stat("/"),
      "a timer": () => setTimeout(0),
      "the next turn": () => setImmediate(),
      "a password's hash": () => promisify(scrypt)("a", "b", 16),
      compression: () => promisify(gzip)("a"),
      "a digest": () => crypto.subtle.digest("SHA-256", new Uint8Array(1)),
      "an answer": () => fetch(address).then((answer) => answer.text()),
      "another connection": () => (test.database.dialect === "sqlite" ? setImmediate() : other.all(list, {})),
    };
    const places: Readonly<Record<string, (tx: Executor, wait: () => Promise<unknown>) => Promise<unknown>>> = {
      "before its first statement": async (tx, wait) => {
        await wait();
        await tx.all(list, {});
      },
      "between two": async (tx, wait) => {
        await tx.all(list, {});
        await wait();
        await tx.all(list, {});
      },
      "after its last": async (tx, wait) => {
        await tx.all(list, {});
        await wait();
      },
      "and hears of nothing": async (tx, wait) => {
        await wait();
        await tx.all(list, {}).catch(() => undefined);
      },
    };
    try {
      for (const [what, wait] of Object.entries(waits)) {
        for (const [where, work] of Object.entries(places)) {
          await assert.rejects(
            test.database.transaction((tx) => work(tx, wait)),
            TransactionRested,
            `${what} ${where}`,
          );
          await unguarded(test.database).transaction((tx) => work(tx, wait));
        }
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  it("is all that is passed by where a transaction may rest, and nothing that a test has put around it", async () => {
    let begun = 0;
    const counting: Database = {
      ...test.database,
      transaction: (work, options) => {
        begun++;
        return test.database.transaction(work, options);
      },
    };
    const rest = () => unguarded(counting).transaction(() => setTimeout(0));
    await assert.rejects(rest, TransactionRested);
    assert.equal(begun, 1);
  });
});
