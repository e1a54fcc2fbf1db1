// A real client, crane, pulls images through a registry from another one, and again when that is gone. Not here: what is done with what comes
// (test/flows/upstream.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { putProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { connectRegistry, mirrorTrait } from "../flows/registry-upstream.testing.ts";
import { ADMIN_PASSWORD, expectStatus, startTestRegistry } from "../flows/registry.testing.ts";
import { requireTool } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { commandsInNewHome } from "./command.ts";
import { readLayout, SHAPE_NAMES, writeImage } from "./images.ts";

const findProject = statement<{ name: string }>()("test.project_id", (db, p) =>
  db.selectFrom("project").select("id").where("name", "=", p.name),
);
/** Rights, and what a project has, are a second old at most. */
const OLDEST_MS = 1_100;

it("crane pulls through from another registry what it would get there", async (t) => {
  const crane = await requireTool(t, "crane");
  if (crane === undefined) return;
  const origin = await startTestRegistry();
  const client = connectRegistry(() => undefined);
  let database: Database;
  const mirror = await startTestRegistry(
    {},
    {
      ports: {
        traits: [mirrorTrait],
        open: ({ database: opened }) => {
          database = opened;
          // Every tag is asked again.
          return { upstreams: [client.upstream] };
        },
      },
    },
  );
  const commands = await commandsInNewHome("crane upstream");
  let isThere = true;
  try {
    for (const [registry, name] of [
      [origin, "source"],
      [mirror, "hub"],
    ] as const) {
      const made = { body: JSON.stringify({ name }), headers: { "content-type": "application/json" } };
      await expectStatus(await registry.send("POST", "/api/v1/projects", made), 201);
    }
    const { id } = (await database!.first(findProject, { name: "hub" }))!;
    const trait = { origin: origin.origin, prefix: "source/", name: "admin", password: ADMIN_PASSWORD };
    await database!.transaction((tx) => putProjectTrait(tx, id, mirrorTrait, trait));
    await new Promise((resolve) => setTimeout(resolve, OLDEST_MS));
    const hosts = [origin, mirror].map((registry) => new URL(registry.origin).host);
    for (const host of hosts) await commands.run(crane, "auth", "login", "--insecure", host, "-u", "admin", "-p", ADMIN_PASSWORD);
    // Foreign layers lie elsewhere, wherever they are pulled from.
    const shapes = SHAPE_NAMES.filter((shape) => shape !== "foreign");
    const images = new Map<string, Awaited<ReturnType<typeof writeImage>>>();
    for (const shape of shapes) {
      const image = await writeImage(await temporaryFolder("upstream-image"), shape, "upstream");
      images.set(shape, image);
      await commands.run(crane, "push", "--insecure", image.folder, `${hosts[0]}/source/${shape}:v1`);
    }
    const refused = await commands.fail(crane, "push", "--insecure", [...images.values()][0]!.folder, `${hosts[1]}/hub/pushed:v1`);
    assert.match(refused, /nothing can be pushed to project hub: it is a proxy of another registry/);
    for (const round of ["first", "again", "without the origin"]) {
      if (round === "without the origin") {
        await origin.stop();
        isThere = false;
      }
      for (const [shape, image] of images) {
        const folder = await temporaryFolder("upstream-pulled");
        await commands.run(crane, "pull", "--insecure", "--format=oci", `${hosts[1]}/hub/${shape}:v1`, folder);
        const pulled = await readLayout(folder);
        assert.equal(pulled.root.digest, image.root.digest, `${shape}, ${round}`);
        assert.deepEqual(pulled.content, image.content, `${shape}, ${round}`);
      }
    }
  } finally {
    await commands.end();
    await mirror.stop();
    client.close();
    if (isThere) await origin.stop();
  }
});
