// The server's reaction to PostgreSQL's faults on a network: fail-over, silence, a full server, locks of its operator, commits that no
// standby has. Only through the driver; whole replicas are in test/replicas.
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RegistryError } from "@berth/oci/errors";
import pg from "pg";
import { systemClock } from "../../apps/server/src/platform/clock.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { migrate } from "../../apps/server/src/platform/database/migrate.ts";
import { openPostgres, type PostgresOptions } from "../../apps/server/src/platform/database/postgres.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { skipOrThrow } from "../tools/install.ts";
import { startPostgres, startPostgresPair, startStandby, type PostgresPair, type PostgresServer } from "../tools/servers.ts";

const insert = statement<{ name: string }>()("network.insert", (db, p) =>
  db.insertInto("project").values({ name: p.name, sort_key: p.name, is_public: 0, created_at: 0 }),
);
const listNames = statement<Record<never, never>>()("network.names", (db) => db.selectFrom("project").select("name").orderBy("name"));

/** Checks for an UNAVAILABLE that says when to retry; returns its cause's message. */
function whyUnavailable(error: unknown): string {
  assert.ok(error instanceof RegistryError && error.code === "UNAVAILABLE", String(error));
  assert.match(error.headers["retry-after"] ?? "", /^\d+$/);
  const { cause } = error;
  return cause instanceof Error ? `${(cause as { code?: string }).code ?? ""} ${cause.message}` : "";
}
const isUnavailable = (error: unknown): boolean => whyUnavailable(error) !== "";

/** Retries until it works; the test's own limit ends it. */
async function untilItWorks<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      whyUnavailable(error);
      await sleep(100);
    }
  }
}

const names = async (database: Database): Promise<string[]> => (await database.all(listNames, {})).map(({ name }) => name);

/** A server, or a skip. */
async function serverFor(t: TestContext, settings: readonly string[] = []): Promise<PostgresServer | undefined> {
  try {
    const server = await startPostgres({ settings });
    t.after(() => server.stop());
    return server;
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

/** Long, because a busy machine takes seconds for a new connection, which is none of the faults here. */
const ACQUIRE_TIMEOUT_MS = 30_000;

function open(t: TestContext, url: string, more: Partial<PostgresOptions> = {}): Database {
  const options = { url, maxConnections: 4, acquireTimeoutMs: ACQUIRE_TIMEOUT_MS, onBackgroundError: () => undefined, ...more };
  const database = openPostgres(options);
  t.after(() => database.close());
  return database;
}

/** An operator's connection. */
async function operator(t: TestContext, url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  t.after(() => client.end());
  return client;
}

/** A primary and its standby, or a skip. */
async function pairFor(t: TestContext): Promise<PostgresPair | undefined> {
  try {
    const pair = await startPostgresPair();
    t.after(() => pair.stop());
    return pair;
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

// Four: most of each test is waiting, and every one has a server or two of its own.
describe("PostgreSQL on a network", { concurrency: 4 }, () => {
  it("is followed to the standby that was promoted, with all that was acknowledged", async (t) => {
    const pair = await pairFor(t);
    if (pair === undefined) return;
    const { primary, standby, urlOf } = pair;
    // The standby comes first: it must not be taken for the primary.
    const database = open(t, urlOf(standby));
    await migrate(database, systemClock);
    const acknowledged: string[] = [];
    let isOver = false;
    const writers = Array.from({ length: 3 }, async (_, writer) => {
      for (let turn = 0; !isOver; turn++) {
        const name = `w${writer}-${String(turn).padStart(5, "0")}`;
        try {
          // Both kinds of write: a statement by itself, and a transaction.
          if (turn % 2 === 0) await database.write(insert, { name });
          else await database.transaction((tx) => tx.run(insert, { name }, 1));
          acknowledged.push(name);
        } catch (error) {
          whyUnavailable(error);
          await sleep(20);
        }
      }
    });
    const more = async (): Promise<void> => {
      const goal = acknowledged.length + 30;
      while (acknowledged.length < goal) await sleep(10);
    };
    await more();
    await primary.kill();
    await assert.rejects(async () => {
      for (;;) await database.probe();
    }, isUnavailable);
    await standby.promote();
    await more();
    isOver = true;
    await Promise.all(writers);
    const kept = new Set(await names(database));
    assert.deepEqual(
      acknowledged.filter((name) => !kept.has(name)),
      [],
    );
    // The old primary returns and still considers itself one. New connections use the server that was promoted later, in whichever order
    // they are listed.
    await primary.resume();
    const late = open(t, urlOf(primary));
    await late.write(insert, { name: "late" });
    assert.ok((await names(database)).includes("late"));
    // A pool that knows the new primary does not return to the old one when the new one goes away.
    await standby.crash();
    await assert.rejects(async () => {
      for (;;) await late.write(insert, { name: `lost-${Math.random()}` });
    }, isUnavailable);
    await assert.rejects(late.all(listNames, {}), isUnavailable);
    await standby.resume();
    assert.ok((await untilItWorks(() => names(late))).includes("late"));
    t.diagnostic(`${acknowledged.length} writes acknowledged`);
  });

  it("acknowledges nothing that no standby has confirmed, also when somebody ends the wait", async (t) => {
    const pair = await pairFor(t);
    if (pair === undefined) return;
    const { primary, standby, urlOf } = pair;
    const database = open(t, urlOf(primary));
    await migrate(database, systemClock);
    await standby.hold();
    for (const [kind, write] of [
      ["a statement", () => database.write(insert, { name: "statement" })],
      ["a transaction", () => database.transaction((tx) => tx.run(insert, { name: "transaction" }, 1))],
      ["a sync", () => database.sync()],
    ] as const) {
      const answer = write().then(
        () => "acknowledged",
        (error: unknown) => whyUnavailable(error),
      );
      // The server's own statement timeout ends the wait in the same way, after a minute.
      for (;;) {
        const rows = await primary.query("select pg_cancel_backend(pid) as done from pg_stat_activity where wait_event = 'SyncRep'");
        if (rows.some(({ done }) => done === true)) break;
        await sleep(20);
      }
      assert.match(await answer, /no standby has confirmed/, kind);
    }
    // A write that need not be durable does not wait.
    await database.write(insert, { name: "loose" }, { durable: false });
    await standby.letGo();
    await database.write(insert, { name: "confirmed" });
  });

  it("that says nothing is given up long before a statement's own limit", async (t) => {
    const server = await serverFor(t);
    if (server === undefined) return;
    const reported: string[] = [];
    const url = await server.createDatabase();
    await migrate(open(t, url), systemClock);
    const database = open(t, url, { acquireTimeoutMs: 5_000, onBackgroundError: (error) => void reported.push(String(error)) });
    // One of the two gets an open connection.
    await untilItWorks(() => database.probe());
    await server.hold();
    const whys = await Promise.all(
      [database.all(listNames, {}), database.transaction((tx) => tx.run(insert, { name: "silent" }, 1))].map((work) =>
        work.then(() => "answered", whyUnavailable),
      ),
    );
    for (const why of whys) assert.match(why, /does not answer|Connection terminated|timeout exceeded when trying to connect/);
    assert.ok(
      reported.some((text) => /does not answer: its connections are given up/.test(text)),
      reported.join("\n"),
    );
    await server.letGo();
    await untilItWorks(() => database.write(insert, { name: "again" }));
  });

  it("that is slow but alive is left its time", async (t) => {
    const server = await serverFor(t);
    if (server === undefined) return;
    const database = open(t, await server.createDatabase());
    // Twice the time after which a connection is suspected.
    await database.script("select pg_sleep(12)");
  });

  it("that has no connection left is unavailable, and is used again when it has", async (t) => {
    const server = await serverFor(t, ["max_connections=8", "superuser_reserved_connections=0"]);
    if (server === undefined) return;
    const url = await server.createDatabase();
    const database = open(t, url);
    await migrate(database, systemClock);
    // Our connection is closed with the others, so that a new one is needed.
    const others: pg.Client[] = [];
    await database.close();
    const next = open(t, url);
    // The server notices the end of our connection in its own time.
    while (others.length < 8) {
      try {
        others.push(await operator(t, url));
      } catch (error) {
        assert.equal((error as { code?: string }).code, "53300", String(error));
        await sleep(50);
      }
    }
    for (const work of [() => next.probe(), () => next.write(insert, { name: "full" }), () => next.all(listNames, {})]) {
      await assert.rejects(work(), (error) => /53300/.test(whyUnavailable(error)));
    }
    await others[0]?.end();
    await untilItWorks(() => next.write(insert, { name: "room" }));
  });

  it("whose connections are all taken by ourselves is unavailable, and then is not", async (t) => {
    const server = await serverFor(t);
    if (server === undefined) return;
    const url = await server.createDatabase();
    await migrate(open(t, url), systemClock);
    const database = open(t, url, { maxConnections: 2, acquireTimeoutMs: 5_000 });
    const gate = Promise.withResolvers<void>();
    const taken = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = taken.map((each) =>
      untilItWorks(() =>
        database.session(async () => {
          each.resolve();
          await gate.promise;
        }),
      ),
    );
    await Promise.all(taken.map(({ promise }) => promise));
    await assert.rejects(database.probe(), (error) => /timeout exceeded when trying to connect/.test(whyUnavailable(error)));
    gate.resolve();
    await Promise.all(slow);
    await untilItWorks(() => database.probe());
  });

  it("whose operator holds a lock is unavailable for what needs it, and for nothing else", async (t) => {
    const server = await serverFor(t);
    if (server === undefined) return;
    const url = await server.createDatabase();
    const database = open(t, url);
    await migrate(database, systemClock);
    const admin = await operator(t, url);
    await admin.query("begin; lock table project in access exclusive mode");
    const waiting = Promise.all(
      [
        database.all(listNames, {}),
        database.write(insert, { name: "a" }),
        database.transaction((tx) => tx.run(insert, { name: "b" }, 1)),
      ].map((work) => work.then(() => "answered", whyUnavailable)),
    );
    await database.probe();
    for (const why of await waiting) assert.match(why, /55P03/);
    await admin.query("rollback");
    await database.write(insert, { name: "free" });
    assert.deepEqual(await names(database), ["free"]);
  });

  it("that is a standby is not ready, whatever it answers", async (t) => {
    const primary = await serverFor(t);
    if (primary === undefined) return;
    const own = new URL(await primary.createDatabase());
    await migrate(open(t, own.href), systemClock);
    const standby = await startStandby(primary);
    t.after(() => standby.stop());
    const database = open(t, `postgres://postgres@127.0.0.1:${standby.port}${own.pathname}`);
    await assert.rejects(database.probe(), (error) => /is a standby/.test(whyUnavailable(error)));
    await assert.rejects(database.write(insert, { name: "standby" }), (error) => /25006/.test(whyUnavailable(error)));
    await standby.promote();
    await untilItWorks(() => database.probe());
    await database.write(insert, { name: "promoted" });
  });

  it("sees to it itself that connections of a machine that vanished end", async (t) => {
    const server = await serverFor(t);
    if (server === undefined) return;
    const database = open(t, await server.createDatabase());
    const settings = await database.session((run) =>
      run(
        "select name, setting from pg_settings where name in ('tcp_keepalives_idle', 'client_connection_check_interval', 'lock_timeout')",
      ),
    );
    assert.deepEqual(Object.fromEntries(settings.map(({ name, setting }) => [name, setting])), {
      tcp_keepalives_idle: "30",
      client_connection_check_interval: "10000",
      lock_timeout: "15000",
    });
  });
});
