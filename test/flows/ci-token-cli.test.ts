// Tokens of CI jobs at the command line, and issuers whose keys are fetched by the registry's one way to others. Not here: the same over HTTP
// (ci-tokens.test.ts), what is wrong with a token (access/token-exchange.test.ts).
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { GITLAB_CLAIMS, startTestIssuer, type TestIssuer } from "../../apps/server/src/access/issuer.testing.ts";
import { cliUser, type CliUser } from "./cli.testing.ts";
import { ADMIN_PASSWORD, startTestRegistry, temporaryFolder, type TestRegistry } from "./registry.testing.ts";

const AUDIENCE = "registry.example.com";

interface IssuerRow {
  readonly keys: { readonly state: string; readonly source: string; readonly ids: readonly string[]; readonly error: string | null };
}

async function start(
  t: TestContext,
  settings: Readonly<Record<string, string>>,
): Promise<{ registry: TestRegistry; issuer: TestIssuer; admin: CliUser; folder: string }> {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const registry = await startTestRegistry(settings);
  t.after(() => registry.stop());
  const issuer = await startTestIssuer();
  t.after(() => issuer.stop());
  const admin = cliUser(join(folder.path, "admin"));
  const login = await admin.run(["login", registry.origin, "--user", "admin", "--password-stdin"], { input: ADMIN_PASSWORD });
  assert.equal(login.code, 0, login.stderr);
  return { registry, issuer, admin, folder: folder.path };
}

it("berth: a job signs in with its token, and whoever keeps its robot sees why another does not", async (t) => {
  const { registry, issuer, admin, folder } = await start(t, { "outbound.allow": "127.0.0.0/8", "outbound.insecureHttp": "true" });
  const made = await admin.json<IssuerRow>("issuer", "create", "gitlab", issuer.url, "--audience", AUDIENCE, "--audience", "other");
  assert.deepEqual([made.keys.source, made.keys.state, made.keys.ids, made.keys.error], ["fetched", "ready", ["key-1"], null]);
  await admin.ok("project", "create", "team");
  const robot = await admin.json<{ secret: null }>("robot", "create", "team+ci", "--scope", "team/**:pull,push", "--no-secret");
  assert.equal(robot.secret, null);
  const wide = await admin.run(["trust", "set", "team+ci", "main", "--issuer", "gitlab", "--claim", "project_path=my-group/my-project"]);
  assert.equal(wide.code, 1);
  assert.match(wide.stderr, /names can be given to others/);
  const claims = [
    "--claim",
    "project_id=20",
    "--claim",
    "ref~feature-branch-*",
    "--claim",
    "environment=prod",
    "--claim",
    "environment=test-environment2",
  ];
  await admin.ok("trust", "set", "team+ci", "main", "--issuer", "gitlab", ...claims);
  assert.match(
    await admin.ok("trust", "list", "team+ci"),
    /main +gitlab +project_id=20 environment=prod\|test-environment2 ref~feature-branch-\*/,
  );

  const token = await issuer.sign({ ...GITLAB_CLAIMS, aud: AUDIENCE });
  for (const user of [[], ["--user", "team+ci"]]) {
    const job = cliUser(join(folder, `job${user.length}`));
    const login = await job.run(["login", registry.origin, "--oidc-token", ...user], { input: `${token}\n` });
    assert.equal(login.code, 0, login.stderr);
    assert.match(await job.ok("whoami"), /NAME +team\+ci/);
  }
  assert.equal((await admin.run(["trust", "test", "team"], { input: token })).code, 0);
  const other = await issuer.sign({ ...GITLAB_CLAIMS, environment: "dev", aud: AUDIENCE });
  const tested = await admin.run(["trust", "test", "team", "--robot", "team+ci"], { input: other });
  assert.equal(tested.code, 1);
  assert.match(tested.stdout, /environment +prod or test-environment2 +dev +(?:no|false)/);
  const refused = await cliUser(join(folder, "other")).run(["login", registry.origin, "--oidc-token", "--user", "team+ci"], {
    input: other,
  });
  assert.notEqual(refused.code, 0);
  assert.match(refused.stderr, /no trust rule/);

  // The issuer gets another key, and the administrator says so.
  await issuer.rotate();
  const refreshed = await admin.json<IssuerRow>("issuer", "refresh", "gitlab");
  assert.deepEqual(refreshed.keys.ids, ["key-2"]);
  await admin.ok("trust", "delete", "team+ci", "main", "--yes");
  await admin.ok("issuer", "delete", "gitlab", "--yes");
});

it("issuers: an address that is not public is not connected to, unless the operator allows it, and given keys need no connection", async (t) => {
  const { issuer, admin, folder } = await start(t, {});
  for (const url of [issuer.url, "https://127.0.0.1:1", "https://169.254.169.254", "https://[::1]:1"]) {
    const made = await admin.json<IssuerRow>("issuer", "create", `at${url.replaceAll(/[^a-z0-9]+/g, "")}`, url, "--audience", AUDIENCE);
    assert.equal(made.keys.state, "missing", url);
    assert.notEqual(made.keys.error, null, url);
  }
  assert.equal(issuer.fetches(), 0);
  const file = join(folder, "keys.json");
  await writeFile(file, JSON.stringify(issuer.jwks()));
  const given = await admin.json<IssuerRow>("issuer", "create", "given", issuer.url, "--audience", AUDIENCE, "--keys-file", file);
  assert.deepEqual([given.keys.source, given.keys.state], ["given", "ready"]);
  await writeFile(file, JSON.stringify({ keys: [{ kty: "oct", k: "AAAA" }] }));
  const shared = await admin.run(["issuer", "update", "given", "--keys-file", file]);
  assert.equal(shared.code, 1);
  assert.match(shared.stderr, /private or shared key/);
});
