// The OCI distribution specification's own conformance suite against Berth as a process of its own, with authentication on and every
// optional part of the suite switched on. Not here: how the suite is run and judged (suite.ts), what it does not ask (test/flows).
import { describe, it, type TestContext } from "node:test";
import { startBerth } from "../clients/berth.ts";
import { cephSettings, postgresSettings } from "../clients/storage.ts";
import { requireTool, skipOrThrow } from "../tools/install.ts";
import { startCephRgw, startPostgres } from "../tools/servers.ts";
import { runConformance } from "./suite.ts";

/** The released specification, and what is on its way to the next release. */
const VERSIONS = ["1.1", "dev"];

describe("the conformance suite passes whole", () => {
  it("on SQLite and a directory", async (t) => {
    const suite = await requireTool(t, "conformance");
    if (suite === undefined) return;
    const berth = await startBerth();
    t.after(() => berth.stop());
    for (const version of VERSIONS) await runConformance(t, suite, { host: berth.host, user: berth.users.admin }, version);
  });

  it("with names of one segment", async (t) => {
    const suite = await requireTool(t, "conformance");
    if (suite === undefined) return;
    const berth = await startBerth();
    t.after(() => berth.stop());
    for (const version of VERSIONS) await runConformance(t, suite, { host: berth.host, user: berth.users.admin, prefix: "" }, version);
  });

  it("on PostgreSQL and Ceph", async (t) => {
    const suite = await requireTool(t, "conformance");
    if (suite === undefined) return;
    const settings = await serviceSettings(t);
    if (settings === undefined) return;
    const berth = await startBerth(settings);
    t.after(() => berth.stop());
    for (const version of VERSIONS) await runConformance(t, suite, { host: berth.host, user: berth.users.admin }, version);
  });
});

async function serviceSettings(t: TestContext): Promise<Record<string, string> | undefined> {
  try {
    const postgres = await startPostgres();
    t.after(() => postgres.stop());
    const ceph = await startCephRgw();
    t.after(() => ceph.stop());
    return { ...(await postgresSettings(postgres)), ...cephSettings(ceph.target) };
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}
