// An issuer of ID tokens inside a test: serves discovery and keys over HTTP, as real ones do, and signs what a test wants. Its keys are replaced, it
// goes away, and it lies, when the test says so. Not here: what must come of its tokens.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from "jose";

/** An issuer. */
export interface TestIssuer {
  readonly url: string;
  /** How often its keys were fetched. */
  fetches(): number;
  /** Signs claims with the newest key: `iss`, `iat`, `exp` (five minutes) and `sub` are there unless the claims say otherwise; undefined takes one away. */
  sign(claims: Readonly<Record<string, unknown>>, header?: Readonly<Record<string, unknown>>): Promise<string>;
  /** Makes a new key; the ones before count no more unless `keeps` says so. Gives its id. */
  rotate(keeps?: boolean): Promise<string>;
  /** What it publishes now. */
  jwks(): { keys: JWK[] };
  /** What it answers in place of its documents; undefined: as it should. */
  lie(answer: ((path: string) => { status?: number; body: string } | undefined) | undefined): void;
  stop(): Promise<void>;
}

/** Starts one. `url`: what it calls itself, where that is not where it listens. */
export async function startTestIssuer({
  algorithm = "RS256",
  url,
  nowMs = Date.now,
}: { algorithm?: string; url?: string; nowMs?: () => number } = {}): Promise<TestIssuer> {
  let keys: { id: string; privateKey: CryptoKey; jwk: JWK }[] = [];
  let made = 0;
  let fetched = 0;
  let lie: ((path: string) => { status?: number; body: string } | undefined) | undefined;

  async function rotate(keeps = false): Promise<string> {
    const id = `key-${++made}`;
    const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
    const jwk = { ...(await exportJWK(publicKey)), kid: id, alg: algorithm, use: "sig" };
    keys = [{ id, privateKey, jwk }, ...(keeps ? keys : [])];
    return id;
  }

  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    const other = lie?.(path);
    if (path === "/jwks") fetched++;
    const documents: Record<string, unknown> = {
      "/.well-known/openid-configuration": {
        issuer,
        jwks_uri: `${origin}/jwks`,
        id_token_signing_alg_values_supported: [algorithm],
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
      },
      "/jwks": { keys: keys.map(({ jwk }) => jwk) },
    };
    const found = documents[path];
    response.writeHead(other?.status ?? (found === undefined && other === undefined ? 404 : 200), { "content-type": "application/json" });
    response.end(other?.body ?? JSON.stringify(found ?? {}));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const issuer = url ?? origin;
  await rotate();

  return {
    url: issuer,
    fetches: () => fetched,
    rotate,
    jwks: () => ({ keys: keys.map(({ jwk }) => jwk) }),
    lie: (answer) => void (lie = answer),
    sign(claims, header = {}) {
      const now = Math.floor(nowMs() / 1000);
      const { id, privateKey } = keys[0]!;
      const all = Object.entries({ iss: issuer, sub: "somebody", iat: now, exp: now + 300, ...claims });
      return new SignJWT(Object.fromEntries(all.filter(([, value]) => value !== undefined)))
        .setProtectedHeader({ alg: algorithm, typ: "JWT", kid: id, ...header })
        .sign(privateKey);
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What GitHub Actions says of a job, beside time and audience. */
export const GITHUB_CLAIMS = {
  sub: "repo:octo-org/octo-repo:environment:prod",
  environment: "prod",
  ref: "refs/heads/main",
  sha: "example-sha",
  repository: "octo-org/octo-repo",
  repository_owner: "octo-org",
  actor_id: "12",
  repository_visibility: "private",
  repository_id: "74",
  repository_owner_id: "65",
  run_id: "example-run-id",
  run_number: "10",
  run_attempt: "2",
  runner_environment: "github-hosted",
  actor: "octocat",
  workflow: "example-workflow",
  head_ref: "",
  base_ref: "",
  event_name: "workflow_dispatch",
  ref_type: "branch",
  job_workflow_ref: "octo-org/octo-automation/.github/workflows/oidc.yml@refs/heads/main",
} as const;

/** What GitLab says of a job. */
export const GITLAB_CLAIMS = {
  sub: "project_path:my-group/my-project:ref_type:branch:ref:feature-branch-1",
  namespace_id: "72",
  namespace_path: "my-group",
  project_id: "20",
  project_path: "my-group/my-project",
  user_id: "1",
  user_login: "sample-user",
  user_email: "sample-user@example.com",
  pipeline_id: "574",
  pipeline_source: "push",
  job_id: "302",
  ref: "feature-branch-1",
  ref_type: "branch",
  ref_path: "refs/heads/feature-branch-1",
  ref_protected: "false",
  environment: "test-environment2",
  environment_protected: "false",
  runner_id: 1,
  runner_environment: "self-hosted",
  ci_config_ref_uri: "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
} as const;

/** What Kubernetes says of a pod. */
export const KUBERNETES_CLAIMS = {
  sub: "system:serviceaccount:builds:pusher",
  "kubernetes.io": {
    namespace: "builds",
    node: { name: "node-1", uid: "646e7c5e-32d6-4d42-9dbd-e504e6cbe6b1" },
    pod: { name: "pusher-7d4", uid: "5e0bd49b-f040-43b0-99b7-22765a53f7f3" },
    serviceaccount: { name: "pusher", uid: "14ee3fa4-a7e2-420f-9f9a-dbc4507c3798" },
  },
} as const;
