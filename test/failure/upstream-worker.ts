// A registry with a project, hub, that mirrors another one, to be killed at any moment: `upstream-worker.ts ORIGIN NAME=VALUE...`, settings as flags.
// It says `ready` and its address. Not here: who kills it, and the other registry (upstream-killed.test.ts).
import { putProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";
import { connectRegistry, mirrorTrait } from "../flows/registry-upstream.testing.ts";
import { startTestRegistry } from "../flows/registry.testing.ts";

const [origin = "", ...flags] = process.argv.slice(2);
const settings = Object.fromEntries(flags.map((flag) => [flag.slice(0, flag.indexOf("=")), flag.slice(flag.indexOf("=") + 1)]));
const { upstream } = connectRegistry(() => undefined);

let database: Database;
const registry = await startTestRegistry(settings, {
  ports: {
    traits: [mirrorTrait],
    open: ({ database: opened }) => {
      database = opened;
      return { upstreams: [upstream] };
    },
  },
});
const made = { body: JSON.stringify({ name: "hub" }), headers: { "content-type": "application/json" } };
const { status } = await registry.send("POST", "/api/v1/projects", made);
if (status !== 201 && status !== 409) throw new Error(`the project could not be made: ${status}`);
const findProject = statement<Record<never, never>>()("test.project_id", (db) =>
  db.selectFrom("project").select("id").where("name", "=", "hub"),
);
const { id } = (await database!.first(findProject, {}))!;
const trait = { origin, prefix: "", name: undefined, password: undefined };
await database!.transaction((tx) => putProjectTrait(tx, id, mirrorTrait, trait));
// Until everything that was remembered of the project is forgotten.
await new Promise((resolve) => setTimeout(resolve, 1_100));
console.log(`ready ${registry.origin}`);
