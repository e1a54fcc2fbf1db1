// The name service fails while a server runs, which knows database and store by name: no such name, an error, no answer at all. Open
// connections are used further, new ones are refused as documented, and when names return with other addresses those are used. Not here:
// servers that fail.
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cephSettings, postgresSettings } from "../clients/storage.ts";
import { isInside, openNetwork, runInside } from "../replicas/own-network.ts";
import { ensureTool, skipOrThrow } from "../tools/install.ts";
import { freePort, temporaryFolder } from "../tools/processes.ts";
import { startPostgres, startVersitygw } from "../tools/servers.ts";
import { type Answer, type AuditedServer, makeImage, startAudited } from "./audited-session.ts";
import { requireOwnFiles, startNameServer, underNameServer, type NameAnswer } from "./name-server.ts";

const MIB = 1024 * 1024;
const [DATABASE, STORE] = ["database.registry.test", "store.registry.test"];
/** The names' addresses, in turn. */
const PLACES = ["127.0.0.2", "127.0.0.3"] as const;

/** A relay at one of the addresses. */
interface Relay {
  /** The number of connections that were ever accepted. */
  taken(): number;
  /** Accepts connections from now on. */
  open(): Promise<void>;
  /** Accepts no more connections, and closes the open ones. */
  close(): Promise<void>;
}

async function openRelay(address: string, port: number, target: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  let taken = 0;
  const server = createServer((near) => {
    taken++;
    const far = connect(target, "127.0.0.1");
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => undefined);
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  const open = async (): Promise<void> => {
    server.listen(port, address);
    await once(server, "listening");
  };
  await open();
  return {
    taken: () => taken,
    open,
    async close() {
      const closed = new Promise((resolve) => void server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function checksOf(server: AuditedServer): Promise<object> {
  const { status, checks } = await server.readiness();
  return { status, ...checks };
}

function assertAway(what: string, answer: Answer): void {
  assert.equal(answer.code, "UNAVAILABLE", `${what}: ${answer.text}`);
  assert.equal(answer.status, 503);
}

async function goThrough(t: TestContext): Promise<void> {
  await openNetwork(t);
  const folder = await temporaryFolder("names");
  t.after(() => rm(folder, { recursive: true, force: true }));
  const under = await underNameServer(folder);
  const names = await startNameServer();
  t.after(() => names.close());
  const postgres = await startPostgres();
  t.after(() => postgres.stop());
  const s3 = await startVersitygw({ keepsConnections: true });
  t.after(() => s3.stop());
  const ports = { [DATABASE]: await freePort(), [STORE]: await freePort() };
  const targets = { [DATABASE]: postgres.port, [STORE]: Number(new URL(s3.target.endpoint).port) };
  const relays = new Map<string, Relay>();
  for (const name of [DATABASE, STORE]) {
    for (const place of PLACES) relays.set(`${name} ${place}`, await openRelay(place, ports[name]!, targets[name]!));
  }
  const closeAll = () => Promise.all([...relays.values()].map((relay) => relay.close()));
  t.after(closeAll);
  const setNames = (answer: NameAnswer, ...which: string[]): void => {
    for (const name of which.length === 0 ? [DATABASE, STORE] : which) names.set(name, answer);
  };
  let place: (typeof PLACES)[number] = PLACES[0];
  setNames(place);

  const inPlace = await postgresSettings(postgres);
  const url = new URL(inPlace["database.url"]!);
  url.host = `${DATABASE}:${ports[DATABASE]}`;
  const server = await startAudited({
    under,
    settings: {
      ...inPlace,
      ...cephSettings({ ...s3.target, endpoint: `http://${STORE}:${ports[STORE]}` }),
      // A dialect whose part requests use connections of their own.
      "storage.s3.dialect": "minio",
      data: join(folder, "berth"),
      "database.url": url.href,
      "storage.hotCacheBytes": "0",
      // Few, so that a new one is soon needed that cannot be opened; with time for all on a busy machine.
      "database.maxConnections": "4",
      "database.acquireTimeoutSeconds": "20s",
    },
  });
  t.after(() => server.kill());
  const image = makeImage("library/app", "v1", 3 * MIB);
  await server.push(image);
  await server.pull(image);
  const layer = `/v2/library/app/blobs/${(JSON.parse(image.manifest) as { layers: [{ digest: string }] }).layers[0].digest}`;

  // Only the store's name is not answered, and many requests look it up; the database, whose name is answered, closes its connections
  // meanwhile.
  {
    const [storeRelay, databaseRelay] = [relays.get(`${STORE} ${place}`)!, relays.get(`${DATABASE} ${place}`)!];
    const askedBefore = names.asked(STORE);
    setNames("silence", STORE);
    await storeRelay.close();
    const away = Array.from({ length: 40 }, () => server.send("GET", layer));
    away.push(...Array.from({ length: 20 }, (_, at) => server.pushBlob("library/app", Buffer.alloc(3 * MIB, at))));
    await sleep(1_000);
    await databaseRelay.close();
    await databaseRelay.open();
    await server.until("the database", async () => (await server.send("GET", "/v2/library/app/manifests/v1")).status === 200);
    for (const answer of await Promise.all(away)) assertAway("the store", answer);
    // Each looks up two kinds of address: separately that would be 120 look-ups of one second each, two at a time.
    assert.ok(names.asked(STORE) - askedBefore < away.length, `asked ${names.asked(STORE) - askedBefore} times`);
    setNames(place);
    await storeRelay.open();
    await server.until("readiness", async () => (await server.readiness()).state === "ok");
  }

  for (const failure of ["nxdomain", "servfail", "silence"] as const) {
    // Open connections are used further.
    setNames(failure);
    await server.pull(image);
    // More requests at a time than connections: the open ones serve all.
    const begun = await Promise.all(Array.from({ length: 20 }, () => server.send("POST", "/v2/library/app/blobs/uploads/")));
    for (const answer of begun) assert.equal(answer.status, 202, answer.text);
    assert.deepEqual(await checksOf(server), { status: 200, database: "ok", store: "ok" });

    // The store's address is gone: content in the database is still served.
    const next: (typeof PLACES)[number] = PLACES[1 - PLACES.indexOf(place)]!;
    const [oldStore, oldDatabase] = [relays.get(`${STORE} ${place}`)!, relays.get(`${DATABASE} ${place}`)!];
    await oldStore.close();
    assert.equal((await server.send("GET", "/v2/library/app/manifests/v1")).status, 200);
    await server.until("word of the store", async () => (await server.readiness()).checks["store"] === "UNAVAILABLE");
    // No other replica would serve better.
    assert.deepEqual(await checksOf(server), { status: 200, database: "ok", store: "UNAVAILABLE" });
    const [read, written] = await Promise.all([server.send("GET", layer), server.pushBlob("library/app", Buffer.alloc(MIB, failure))]);
    assertAway("a read of the store", read);
    assertAway("a write to the store", written);

    // The database's address is gone too.
    await oldDatabase.close();
    for (const [method, path] of [
      ["GET", "/v2/library/app/manifests/v1"],
      ["POST", "/v2/library/app/blobs/uploads/"],
    ] as const)
      assertAway(path, await server.send(method, path));
    await server.until("word of the database", async () => (await server.readiness()).checks["database"] === "UNAVAILABLE");
    assert.equal((await server.send("GET", "/healthz")).status, 200);

    // They return at another address.
    setNames(next);
    await server.until("readiness", async () => (await server.readiness()).state === "ok");
    await server.pull(image);
    const later = makeImage("library/app", failure, 2 * MIB);
    await server.push(later);
    await server.pull(later);
    for (const relay of [oldStore, oldDatabase]) await relay.open();
    place = next;
  }
  t.diagnostic(`${await server.audit()} answers of 5xx, each with its cause in the log`);
}

if (isInside) it("goes through names that fail, and follows them to other addresses", goThrough);
else {
  it("goes through names that fail, and follows them to other addresses", async (t) => {
    try {
      for (const tool of ["postgres", "versitygw"] as const) await ensureTool(tool);
      await requireOwnFiles();
    } catch (error) {
      skipOrThrow(t, error);
      return;
    }
    await runInside(t, import.meta.filename);
  });
}
