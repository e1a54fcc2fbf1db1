// helm against Berth: charts as OCI artifacts, pushed, listed, pulled and shown. Not here: running them.
import assert from "node:assert/strict";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type ClientSession, describeClient } from "./session.testing.ts";

const plain = "--plain-http";

/** Makes a chart of that name and version, and gives its archive's path. */
async function packageChart({ developer, homes }: ClientSession, name: string, version: string): Promise<string> {
  await developer(["create", name]);
  await developer(["package", name, "--version", version]);
  return join(homes.developer.home, `${name}-${version}.tgz`);
}

describeClient(
  {
    tool: "helm",
    login: (host, { name, password }) => ["registry", "login", plain, "-u", name, "-p", password, host],
  },
  [
    {
      name: "pushes a chart and pulls it by version and by digest, unchanged",
      async run(session) {
        const { berth, developer, anonymous, newFolder } = session;
        const chart = await packageChart(session, "web", "1.2.3");
        await developer(["push", plain, chart, `oci://${berth.host}/library/charts`]);
        const { digest, bytes } = await berth.manifest("library/charts/web", "1.2.3");
        assert.match(bytes.toString(), /application\/vnd\.cncf\.helm\.config\.v1\+json/);
        await berth.contentOf("library/charts/web", digest);
        for (const wanted of [
          [`oci://${berth.host}/library/charts/web`, "--version", "1.2.3"],
          [`oci://${berth.host}/library/charts/web@${digest}`],
        ]) {
          const folder = newFolder();
          await mkdir(folder);
          await anonymous(["pull", plain, ...wanted, "-d", folder]);
          const [archive, ...others] = await readdir(folder);
          assert.deepEqual(others, []);
          assert.deepEqual(await readFile(join(folder, archive ?? "")), await readFile(chart));
        }
      },
    },
    {
      name: "pushes a chart to the root of the registry, a name of one segment, and pulls it",
      async run(session) {
        const { berth, developer, anonymous, newFolder } = session;
        const chart = await packageChart(session, "short", "1.0.0");
        await developer(["push", plain, chart, `oci://${berth.host}`]);
        await berth.contentOf("library/short", "1.0.0");
        const folder = newFolder();
        await mkdir(folder);
        await anonymous(["pull", plain, `oci://${berth.host}/short`, "--version", "1.0.0", "-d", folder]);
        assert.deepEqual(await readFile(join(folder, "short-1.0.0.tgz")), await readFile(chart));
      },
    },
    {
      name: "chooses the newest version that a constraint allows, from the list of tags",
      async run(session) {
        const { berth, developer } = session;
        // A tag may hold no plus sign: helm writes build metadata with an underscore.
        for (const version of ["1.0.0", "1.1.0+build.5", "2.0.0"]) {
          await developer(["push", plain, await packageChart(session, "ranged", version), `oci://${berth.host}/vault/charts`]);
        }
        const tags = (await (await berth.ask("vault/charts/ranged/tags/list")).json()) as { tags: string[] };
        assert.deepEqual(tags.tags, ["1.0.0", "1.1.0_build.5", "2.0.0"]);
        const shown = await developer(["show", "chart", plain, `oci://${berth.host}/vault/charts/ranged`, "--version", "^1.0.0"]);
        assert.match(shown, /^version: 1\.1\.0\+build\.5$/m);
      },
    },
    {
      name: "refuses a guest's push, a stranger's login, and an anonymous pull of what is private",
      async run(session) {
        const { berth, binary, developer, guest, anonymous, homes } = session;
        const chart = await packageChart(session, "refused", "1.0.0");
        await assert.rejects(guest(["push", plain, chart, `oci://${berth.host}/library/charts`]), /denied|unauthorized|403/i);
        assert.equal((await berth.ask("library/charts/refused/manifests/1.0.0")).status, 404);
        const login = ["registry", "login", plain, "-u", "developer", "-p", "not-the-password", berth.host];
        assert.match(await homes.anonymous.fail(binary, ...login), /unauthorized|401/i);
        await developer(["push", plain, chart, `oci://${berth.host}/vault/charts`]);
        const show = ["show", "chart", plain, `oci://${berth.host}/vault/charts/refused`, "--version", "1.0.0"];
        await assert.rejects(anonymous(show), /unauthorized|401|denied/i);
        assert.match(await guest(show), /name: refused/);
      },
    },
  ],
);
