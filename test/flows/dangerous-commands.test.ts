// Commands that delete something: none does so because of a mistyped digit, name or path. Not here: options of another command
// (roles/command-line.test.ts), another registry's store or database (wrong-store.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import pg from "pg";
import { LATEST_MIGRATION } from "../../apps/server/src/platform/database/migrate.ts";
import { expectCode, runProgram } from "./program.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder } from "./registry.testing.ts";

const SECRET_KEY = Buffer.alloc(32, 9).toString("base64");
const SERVER_URL = process.env["BERTH_TEST_POSTGRES_URL"];

/** An unused database of a registry, and its name. */
interface Prepared {
  readonly settings: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly name: string;
}

async function prepareSqlite(t: TestContext): Promise<Prepared> {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  return prepared({ data: folder.path, "auth.secretKey": SECRET_KEY }, join(folder.path, "berth.db"));
}

async function preparePostgres(t: TestContext): Promise<Prepared> {
  const name = `berth_${randomBytes(8).toString("hex")}`;
  const admin = new pg.Client({ connectionString: SERVER_URL });
  await admin.connect();
  await admin.query(`create database ${name}`);
  const folder = await temporaryFolder();
  t.after(async () => {
    await admin.query(`drop database ${name} with (force)`);
    await admin.end();
    await folder.end();
  });
  const url = new URL(SERVER_URL!);
  url.pathname = `/${name}`;
  return prepared({ data: folder.path, "database.url": url.href, "auth.secretKey": SECRET_KEY }, `${url.host}/${name}`);
}

function prepared(settings: Readonly<Record<string, string>>, name: string): Prepared {
  return { settings, flags: Object.entries(settings).map(([key, value]) => `--${key}=${value}`), name };
}

/** Each engine with what it needs. */
const ENGINES = [
  { name: "sqlite", prepare: prepareSqlite, skip: false as const },
  { name: "postgres", prepare: preparePostgres, skip: SERVER_URL === undefined ? "BERTH_TEST_POSTGRES_URL is not set" : (false as const) },
];

for (const { name: engine, prepare, skip } of ENGINES) {
  describe(`migrate on ${engine}`, { skip }, () => {
    it("goes to no version that is not a release's", async (t) => {
      const { flags } = await prepare(t);
      await expectCode(0, ["migrate", ...flags]);
      for (const wrong of ["2", String(LATEST_MIGRATION + 1), "", "3.0"]) {
        const { stderr } = await expectCode(64, ["migrate", `--to=${wrong}`, "--yes", ...flags]);
        assert.match(stderr, new RegExp(`no release's version. There are 3 \\(0\\.1\\.0\\), ${LATEST_MIGRATION} \\(.*this program\\)`));
      }
      assert.match((await expectCode(0, ["migrate", ...flags])).stdout, new RegExp(`^the database is at version ${LATEST_MIGRATION}\n$`));
    });

    it("says what a way back loses, and goes it only when told", async (t) => {
      const { flags, name } = await prepare(t);
      await expectCode(0, ["migrate", ...flags]);
      const refused = await expectCode(1, ["migrate", "--to", "3", ...flags]);
      assert.ok(refused.stderr.includes(`the database ${name}`), refused.stderr);
      assert.match(refused.stderr, /step 4 \(usage\) loses the counters of usage/);
      assert.match(refused.stderr, /Nothing was changed\. Say --yes/);
      assert.match((await expectCode(0, ["migrate", "--to", "3", "--yes", ...flags])).stdout, /at version 3\n$/);
      await expectCode(0, ["migrate", ...flags]);
    });

    it("destroys content only when the database is named", async (t) => {
      const { flags, settings, name } = await prepare(t);
      const registry = await startTestRegistry({ ...settings, "auth.adminPassword": ADMIN_PASSWORD });
      await registry.pushImage("library/app", "v1");
      if (engine === "postgres") {
        const inUse = await expectCode(1, ["migrate", "--to", "0", "--destroy", name, ...flags]);
        assert.match(inUse.stderr, /Stop the servers first/);
      }
      await registry.stop();
      const wrongs = [["--yes"], ["--destroy", name.slice(0, -1), "--yes"]];
      for (const wrong of wrongs) {
        const { stderr } = await expectCode(1, ["migrate", "--to", "0", ...wrong, ...flags]);
        assert.match(stderr, /loses EVERYTHING/);
        assert.ok(stderr.includes(`name the database: --destroy ${name}\n`), stderr);
      }
      const again = await startTestRegistry({ ...settings, "auth.adminPassword": ADMIN_PASSWORD });
      assert.equal((await again.send("GET", "/v2/library/app/manifests/v1")).status, 200);
      await again.stop();
      assert.match(
        (await expectCode(0, ["migrate", "--to", "0", "--destroy", name, ...flags])).stdout,
        /down 1 core\nthe database is at version 0\n$/,
      );
    });

    it("takes back what holds nothing without its name", async (t) => {
      const { flags } = await prepare(t);
      await expectCode(0, ["migrate", ...flags]);
      await expectCode(0, ["migrate", "--to", "0", "--yes", ...flags]);
    });
  });
}

it("dangerous commands: makes no database where there is none to work on", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const data = join(folder.path, "mistyped");
  for (const args of [["gc"], ["gc", "--dry-run"], ["migrate", "--to", "3"], ["migrate", "--to", "0"], ["doctor", "--repair"]]) {
    const { code, stderr } = await runProgram([...args, `--data=${data}`]);
    assert.ok(code === 1 || code === 2, `${args.join(" ")}: ${code}`);
    assert.match(stderr, /There is no database/);
  }
  assert.ok(!existsSync(join(data, "berth.db")));
});

it("dangerous commands: prunes a backup only when told", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const place = join(folder.path, "backup");
  const data = join(folder.path, "data");
  const registry = await startTestRegistry({ data });
  await registry.stop();
  for (let taken = 0; taken < 2; taken++) await expectCode(0, ["backup", place, `--data=${data}`]);
  assert.match((await expectCode(2, ["backup", "prune", place, "--keep", "1"])).stderr, /Nothing was changed.*--yes/);
  const { stdout } = await expectCode(0, ["backup", "list", place]);
  assert.equal(stdout.trim().split("\n").length, 2);
  assert.match((await expectCode(0, ["backup", "prune", place, "--keep", "1", "--yes"])).stdout, /deleted 1 snapshots/);
});

it("dangerous commands: asks a person on a terminal", async (t) => {
  const { spawn } = await import("node:child_process");
  const { findInPath } = await import("../tools/install.ts");
  const script = findInPath("script");
  if (script === undefined) return t.skip("needs script(1)");
  const { flags, name } = await prepareSqlite(t);
  await expectCode(0, ["migrate", ...flags]);
  const program = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");
  const answers: [string, number, RegExp][] = [
    ["no", 1, /Nothing was changed/],
    ["yes", 0, /at version 3/],
  ];
  for (const [answer, code, words] of answers) {
    const command = [process.execPath, program, "migrate", "--to", "3", ...flags].join(" ");
    const child = spawn(script, ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
    let shown = "";
    let isAnswered = false;
    child.stdout.on("data", (piece: Buffer) => {
      shown += piece.toString("utf8");
      if (isAnswered || !shown.includes("Type yes")) return;
      isAnswered = true;
      child.stdin.write(`${answer}\n`);
    });
    const [ended] = (await once(child, "close")) as [number];
    assert.equal(ended, code, shown);
    assert.match(shown, words);
    assert.ok(shown.includes(name));
  }
  return undefined;
});
