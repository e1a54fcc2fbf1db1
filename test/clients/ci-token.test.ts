// Signing in with a CI job's token by the clients that people have: login from standard input, push and pull, with what each keeps and sends again.
// Not here: the rules (test/flows/ci-tokens.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { GITHUB_CLAIMS, startTestIssuer } from "../../apps/server/src/access/issuer.testing.ts";
import { LAYOUT_TAG, writeImage } from "./images.ts";
import { type ClientSession, describeClient } from "./session.testing.ts";

const AUDIENCE = "https://registry.example.com";

/** A robot without a secret for jobs of a repository, and a token of such a job. */
async function tokenFor({ berth }: ClientSession): Promise<{ token: string; other: string; stop(): Promise<void> }> {
  const issuer = await startTestIssuer();
  const keys = JSON.stringify(issuer.jwks());
  await berth.api("POST", "/issuers", { name: "github", url: issuer.url, audiences: [AUDIENCE], keys });
  const scopes = [{ repositories: "vault/**", actions: ["pull", "push"] }];
  await berth.api("POST", "/projects/vault/robots", { name: "job", scopes, withoutSecret: true });
  await berth.api("PUT", "/projects/vault/robots/job/trust/main", {
    issuer: "github",
    conditions: [
      { claim: "repository_id", equals: "74" },
      { claim: "ref", equals: "refs/heads/main" },
    ],
  });
  return {
    token: await issuer.sign({ ...GITHUB_CLAIMS, aud: AUDIENCE }),
    other: await issuer.sign({ ...GITHUB_CLAIMS, ref: "refs/heads/evil", aud: AUDIENCE }),
    stop: () => issuer.stop(),
  };
}

/** Runs a login that reads its password from standard input; gives its exit code and what it said. */
async function login({ binary, homes }: ClientSession, args: readonly string[], password: string): Promise<{ code: number; said: string }> {
  const { home } = homes.anonymous;
  const env = { PATH: process.env["PATH"] ?? "", HOME: home, REGISTRY_AUTH_FILE: `${home}/auth.json` };
  const child = spawn(binary, [...args], { env, stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (said += piece.toString()));
  child.stdin.end(password);
  const [code] = (await once(child, "close")) as [number];
  return { code, said };
}

describeClient({ tool: "skopeo" }, [
  {
    name: "signs in with a job's token, pushes and pulls with it, and is told why another's does not count",
    async run(session) {
      const { token, other, stop } = await tokenFor(session);
      try {
        const { berth, newFolder, anonymous } = session;
        const image = await writeImage(newFolder(), "uncompressed", "ci token");
        const reference = `docker://${berth.host}/vault/skopeo/ci:v1`;
        for (const name of ["oidc", "oidc+vault+job"]) {
          const args = ["login", "--tls-verify=false", "-u", name, "--password-stdin", berth.host];
          const refused = await login(session, args, other);
          assert.notEqual(refused.code, 0);
          const taken = await login(session, args, token);
          assert.equal(taken.code, 0, taken.said);
          await anonymous(["copy", "--dest-tls-verify=false", `oci:${image.folder}:${LAYOUT_TAG}`, reference]);
          await anonymous(["copy", "--src-tls-verify=false", reference, `oci:${newFolder()}:${LAYOUT_TAG}`]);
        }
        await assert.rejects(
          anonymous(["copy", "--dest-tls-verify=false", `oci:${image.folder}:${LAYOUT_TAG}`, `docker://${berth.host}/library/no:v1`]),
        );
      } finally {
        await stop();
      }
    },
  },
]);
