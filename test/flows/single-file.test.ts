// The command line as one executable, where there is no Node.js and none of the sources: it logs in, works, and gives docker credentials. Not
// here: what its verbs do (cli.test.ts).
import assert from "node:assert/strict";
import { copyFile, readFile, symlink } from "node:fs/promises";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { buildCli } from "../../tools/build-cli.ts";
import { cliUser, type CliUser } from "./cli.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

describe("berth in one file", () => {
  let registry: TestRegistry;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let user: CliUser;

  before(async () => {
    folder = await temporaryFolder();
    registry = await startTestRegistry();
    const built = await buildCli(join(folder.path, "built"));
    // Away from everything that it was built from.
    const program = join(folder.path, basename(built));
    await copyFile(built, program);
    await symlink(program, join(folder.path, "docker-credential-berth"));
    user = cliUser(folder.path, { berth: program, "docker-credential-berth": join(folder.path, "docker-credential-berth") });
  });
  after(async () => {
    await registry.stop();
    await folder.end();
  });

  it("logs in, makes a project, and prints YAML", async () => {
    const login = await user.run(["login", registry.origin, "--user", "admin", "--password-stdin"], { input: `${ADMIN_PASSWORD}\n` });
    assert.equal(login.code, 0, login.stderr);
    await user.ok("project", "create", "team");
    assert.match(await user.ok("export", "team"), /^kind: Project\nname: team$/m);
    const wrong = await user.run(["project", "create", "team"]);
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /PROJECT_EXISTS|exists/);
  });

  it("gives docker credentials under its other name", async () => {
    const { code, stdout, stderr } = await user.helper("get", `${registry.origin}\n`);
    assert.equal(code, 0, stderr);
    assert.equal((JSON.parse(stdout) as { Secret: string }).Secret, ADMIN_PASSWORD);
  });

  it("has the licences of what is inside beside it", async () => {
    const text = await readFile(join(folder.path, "built", "LICENSES.txt"), "utf8");
    for (const name of ["yaml", "typebox", "node"]) assert.match(text, new RegExp(`^${name}`, "m"), name);
  });
});
