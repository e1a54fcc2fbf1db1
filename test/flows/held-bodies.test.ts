// Requests whose body is held back while their right is revoked: every operation of both planes that reads a body, and every way in which a
// right ends. Not here: the rights (access-matrix.test.ts), the same below HTTP (distribution/aged-grants.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { API_PREFIX } from "@berth/api/operation";
import { OPERATIONS } from "@berth/api/operations";
import { V2_OPERATIONS } from "../../apps/server/src/http/v2/handler.ts";
import { openRawClient, requestHead, type RawAnswer } from "./raw-client.testing.ts";
import { expectStatus, sha256, startTestRegistry, type PushedImage, type TestRegistry } from "./registry.testing.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const PASSWORD = "held-bodies-password";

/** A request to hold. */
interface Held {
  readonly method: string;
  readonly path: string;
  readonly type: string;
  readonly body: Uint8Array | string;
}

/** An account with a right, and how to revoke it. */
interface Subject {
  readonly basic: string;
  take(): Promise<void>;
}

/** Kinds of the data plane without a body: they are done when they are requested. */
const BODYLESS = new Set([
  "ping",
  "catalog",
  "tags",
  "manifest-get",
  "manifest-delete",
  "blob-get",
  "blob-delete",
  "mount",
  "upload-get",
  "upload-cancel",
  "referrers",
  "unparsed",
]);

/** What everybody may do with their own account, whatever else they may. */
const ANYBODYS = new Set(["changeMyPassword", "createMyToken"]);

describe("bodies that are held back", () => {
  let registry: TestRegistry;
  let image: PushedImage;
  let count = 0;

  async function api(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const answer = await registry.send(method, `${API_PREFIX}${path}`, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { "content-type": "application/json" },
    });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return (answer.status === 204 ? {} : await answer.json()) as Record<string, unknown>;
  }
  const basicOf = (name: string, secret: string): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;

  before(async () => {
    registry = await startTestRegistry();
    await api("POST", "/projects", { name: "own", visibility: "private" });
    image = await registry.pushImage("own/app", "v1", 20_000);
  });
  after(() => registry.stop());

  async function addGroup(): Promise<string> {
    const name = `group${++count}`;
    await api("POST", "/groups", { name });
    return name;
  }

  async function addUser(isAdmin = false): Promise<string> {
    const name = `user${++count}`;
    await api("POST", "/users", { name, password: PASSWORD, isAdmin });
    if (!isAdmin) await api("PUT", `/projects/own/members/${name}`, { role: "owner" });
    return name;
  }

  async function user(take: (name: string) => Promise<unknown>, isAdmin = false): Promise<Subject> {
    const name = await addUser(isAdmin);
    return { basic: basicOf(name, PASSWORD), take: async () => void (await take(name)) };
  }

  async function robot(take: (path: string) => Promise<unknown>, expiresAt?: Date): Promise<Subject> {
    const name = `robot${++count}`;
    const made = await api("POST", "/projects/own/robots", {
      name,
      scopes: [{ repositories: "own/**", actions: ["pull", "push", "delete"] }],
      ...(expiresAt === undefined ? {} : { expiresAt: expiresAt.toISOString() }),
    });
    const basic = basicOf(String(made["login"]), String(made["secret"]));
    return { basic, take: async () => void (await take(`/projects/own/robots/${name}`)) };
  }

  const REMOVALS: Record<string, () => Promise<Subject>> = {
    "a removed member": () => user((name) => api("DELETE", `/projects/own/members/${name}`)),
    "a member who becomes a guest": () => user((name) => api("PUT", `/projects/own/members/${name}`, { role: "guest" })),
    "a disabled user": () => user((name) => api("PATCH", `/users/${name}`, { isDisabled: true })),
    "a user whose password is changed": () => user((name) => api("PATCH", `/users/${name}`, { password: `${PASSWORD}-2` })),
    "a deleted user": () => user((name) => api("DELETE", `/users/${name}`)),
    "a deleted robot": () => robot((path) => api("DELETE", path)),
    "a disabled robot": () => robot((path) => api("PATCH", path, { isDisabled: true })),
    "a robot with a new secret": () => robot((path) => api("POST", `${path}/secret`)),
    "a robot with fewer scopes": () =>
      robot((path) => api("PATCH", path, { scopes: [{ repositories: "own/other", actions: ["pull", "push"] }] })),
    "a robot that expires": async () => {
      const expiresAt = new Date(Date.now() + 1_500);
      // An expiry sends no notice; with the margin for caches it has taken effect.
      return robot(() => new Promise((resolve) => setTimeout(resolve, expiresAt.getTime() + 1_000 - Date.now())), expiresAt);
    },
  };

  /** Sends a request's head and half of its body, runs a function, sends the rest, and returns the answer. */
  async function hold({ method, path, type, body }: Held, authorization: string, meanwhile: () => Promise<void>): Promise<RawAnswer> {
    const bytes = Buffer.from(body);
    const client = await openRawClient(registry.origin);
    try {
      const headers = { authorization, "content-type": type, "content-length": bytes.length, expect: "100-continue" };
      await client.send(requestHead(method, path, headers));
      // The server sends 100 Continue when it has admitted the caller.
      const asked = await client.answer();
      assert.equal(asked.status, 100, `${method} ${path}: ${asked.status} ${asked.body.toString()}`);
      await client.send(bytes.subarray(0, bytes.length / 2));
      await meanwhile();
      await client.send(bytes.subarray(bytes.length / 2));
      return await client.answer();
    } finally {
      client.destroy();
    }
  }

  async function sessionAt(repository: string): Promise<string> {
    const begun = await expectStatus(await registry.send("POST", `/v2/${repository}/blobs/uploads/`), 202);
    return begun.headers.get("location")!;
  }

  /** Every request of the data plane with a body, and what it would leave behind. */
  const PUSHES: Record<string, () => Promise<Held & { left: () => Promise<Response> }>> = {
    "manifest-put": async () => ({
      method: "PUT",
      path: "/v2/own/app/manifests/held",
      type: OCI,
      body: image.manifest,
      left: () => registry.send("GET", "/v2/own/app/manifests/held"),
    }),
    ...Object.fromEntries(
      [1_000, 300_000].flatMap((sizeBytes) => {
        const blob = (): { body: Buffer; digest: string; type: string; left: () => Promise<Response> } => {
          const body = randomBytes(sizeBytes);
          const digest = sha256(body);
          const left = () => registry.send("HEAD", `/v2/own/app/blobs/${digest}`);
          return { body, digest, type: "application/octet-stream", left };
        };
        return [
          [
            `upload-begin ${sizeBytes}`,
            async () => {
              const made = blob();
              return { ...made, method: "POST", path: `/v2/own/app/blobs/uploads/?digest=${made.digest}` };
            },
          ],
          [
            `upload-finish ${sizeBytes}`,
            async () => {
              const made = blob();
              return { ...made, method: "PUT", path: `${await sessionAt("own/app")}?digest=${made.digest}` };
            },
          ],
          [
            `upload-append ${sizeBytes}`,
            async () => {
              const path = await sessionAt("own/app");
              // The refused chunk may not have advanced the session: it finishes as empty.
              const left = async (): Promise<Response> => {
                const done = await registry.send("PUT", `${path}?digest=${sha256("")}`);
                return new Response(null, { status: done.status === 201 ? 404 : 200 });
              };
              return { ...blob(), method: "PATCH", path, left };
            },
          ],
        ];
      }),
    ),
  };

  it("are of every operation that has one", () => {
    const kinds = new Set([...Object.keys(PUSHES).map((name) => name.split(" ")[0]!), ...BODYLESS]);
    assert.deepEqual([...kinds].toSorted(), [...V2_OPERATIONS].toSorted());
    assert.deepEqual(
      OPERATIONS.filter((each) => each.body !== undefined)
        .map((each) => each.id)
        .toSorted(),
      Object.keys(CHANGES).toSorted(),
    );
  });

  for (const [who, make] of Object.entries(REMOVALS)) {
    it(`push nothing for ${who}`, async () => {
      for (const [name, prepare] of Object.entries(PUSHES)) {
        const [subject, held] = [await make(), await prepare()];
        const answer = await hold(held, subject.basic, subject.take);
        assert.ok([401, 403, 404].includes(answer.status), `${name}: ${answer.status} ${answer.body.toString()}`);
        assert.ok(["UNAUTHORIZED", "DENIED", "NAME_UNKNOWN"].includes(answer.code), `${name}: ${answer.code}`);
        const left = await held.left();
        await left.body?.cancel();
        assert.equal(left.status, 404, `${name} left something`);
      }
    });
  }

  it("push what they should for who keeps the right, whatever else changes meanwhile", async () => {
    for (const [name, prepare] of Object.entries(PUSHES)) {
      const subject = await user(() => addUser());
      const held = await prepare();
      const answer = await hold(held, subject.basic, subject.take);
      assert.ok([201, 202].includes(answer.status), `${name}: ${answer.status} ${answer.body.toString()}`);
    }
  });

  // ---- The control plane ----

  /** An issuer whose keys are given. */
  function issuerOf(name: string): object {
    const keys = JSON.stringify({ keys: [{ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }] });
    return { name, url: "https://issuer.example.com", audiences: ["registry"], keys };
  }

  const webhookOf = (name: string): object => ({ name, address: "https://hooks.example.com/x" });

  /** A body for each operation that has one, which would change something; addresses name existing things. */
  const CHANGES: Record<string, () => Promise<{ path: string; body: unknown; isAdmin?: boolean }>> = {
    createProject: async () => ({ path: "/projects", body: { name: `new${++count}` }, isAdmin: true }),
    updateProject: async () => ({ path: "/projects/own", body: { visibility: "public" } }),
    putMember: async () => ({ path: `/projects/own/members/${await addUser()}`, body: { role: "guest" } }),
    createUser: async () => ({ path: "/users", body: { name: `new${++count}`, password: PASSWORD }, isAdmin: true }),
    updateUser: async () => ({ path: `/users/${await addUser()}`, body: { isAdmin: true }, isAdmin: true }),
    changeMyPassword: async () => ({
      path: "/users/me/password",
      body: { currentPassword: PASSWORD, newPassword: `${PASSWORD}-new` },
    }),
    createSession: async () => ({ path: "/session", body: { name: await addUser(), password: PASSWORD } }),
    createMyToken: async () => ({
      path: "/users/me/tokens",
      body: { name: `new${++count}`, api: "write", scopes: [{ repositories: "**", actions: ["pull"] }] },
    }),
    createDeletionPlan: async () => ({
      path: "/projects/own/repositories/app/deletions",
      body: { action: "delete", tags: ["v1"] },
    }),
    transferProject: async () => ({ path: "/projects/own/transfer", body: { to: await addUser(), from: "admin" } }),
    createProjectWebhook: async () => ({ path: "/projects/own/webhooks", body: webhookOf(`new${++count}`) }),
    updateProjectWebhook: async () => {
      const name = `kept${++count}`;
      await api("POST", "/projects/own/webhooks", webhookOf(name));
      return { path: `/projects/own/webhooks/${name}`, body: { isEnabled: false } };
    },
    createRegistryWebhook: async () => ({ path: "/webhooks", body: webhookOf(`new${++count}`), isAdmin: true }),
    updateRegistryWebhook: async () => {
      const name = `kept${++count}`;
      await api("POST", "/webhooks", webhookOf(name));
      return { path: `/webhooks/${name}`, body: { isEnabled: false }, isAdmin: true };
    },
    createGroup: async () => ({ path: "/groups", body: { name: `new${++count}` }, isAdmin: true }),
    updateGroup: async () => ({ path: `/groups/${await addGroup()}`, body: { systemRole: "administrator" }, isAdmin: true }),
    putProjectGroup: async () => ({ path: `/projects/own/groups/${await addGroup()}`, body: { role: "owner" } }),
    updateSettings: async () => ({ path: "/settings", body: { "projects.creation": "everyone" }, isAdmin: true }),
    createProjectRobot: async () => ({
      path: "/projects/own/robots",
      body: { name: `new${++count}`, scopes: [{ repositories: "own/**", actions: ["push"] }] },
    }),
    updateProjectRobot: async () => {
      const name = `kept${++count}`;
      await api("POST", "/projects/own/robots", { name, scopes: [{ repositories: "own/x", actions: ["pull"] }] });
      return { path: `/projects/own/robots/${name}`, body: { isDisabled: true } };
    },
    createRegistryRobot: async () => ({
      path: "/robots",
      body: { name: `new${++count}`, scopes: [{ repositories: "**", actions: ["push"] }] },
      isAdmin: true,
    }),
    updateRegistryRobot: async () => {
      const name = `kept${++count}`;
      await api("POST", "/robots", { name, scopes: [{ repositories: "**", actions: ["pull"] }] });
      return { path: `/robots/${name}`, body: { isDisabled: true }, isAdmin: true };
    },
    putProjectNetworks: async () => ({ path: "/projects/own/networks", body: { deny: ["192.0.2.1"] } }),
    putProjectRobotNetworks: async () => {
      const name = `kept${++count}`;
      await api("POST", "/projects/own/robots", { name, scopes: [{ repositories: "own/x", actions: ["pull"] }] });
      return { path: `/projects/own/robots/${name}/networks`, body: { deny: ["192.0.2.1"] } };
    },
    putRegistryRobotNetworks: async () => {
      const name = `kept${++count}`;
      await api("POST", "/robots", { name, scopes: [{ repositories: "**", actions: ["pull"] }] });
      return { path: `/robots/${name}/networks`, body: { deny: ["192.0.2.1"] }, isAdmin: true };
    },
    testDirectory: async () => ({ path: "/directories/corp/tests", body: { user: "nobody" }, isAdmin: true }),
    createIssuer: async () => ({ path: "/issuers", body: issuerOf(`new${++count}`), isAdmin: true }),
    updateIssuer: async () => {
      const name = `kept${++count}`;
      await api("POST", "/issuers", issuerOf(name));
      return { path: `/issuers/${name}`, body: { isDisabled: true }, isAdmin: true };
    },
    putProjectRobotTrustRule: async () => {
      const name = `kept${++count}`;
      await api("POST", "/issuers", issuerOf(name));
      await api("POST", "/projects/own/robots", { name, scopes: [{ repositories: "own/x", actions: ["pull"] }] });
      return { path: `/projects/own/robots/${name}/trust/new`, body: { issuer: name, conditions: [{ claim: "project_id", equals: "1" }] } };
    },
    putRegistryRobotTrustRule: async () => {
      const name = `kept${++count}`;
      await api("POST", "/issuers", issuerOf(name));
      await api("POST", "/robots", { name, scopes: [{ repositories: "**", actions: ["pull"] }] });
      return {
        path: `/robots/${name}/trust/new`,
        body: { issuer: name, conditions: [{ claim: "project_id", equals: "1" }] },
        isAdmin: true,
      };
    },
    testProjectRobotToken: async () => ({ path: "/projects/own/token-tests", body: { token: "x" } }),
    testRegistryRobotToken: async () => ({ path: "/token-tests", body: { token: "x" }, isAdmin: true }),
  };

  for (const [what, take] of Object.entries({
    "is disabled": (name: string) => api("PATCH", `/users/${name}`, { isDisabled: true }),
    "gets a new password": (name: string) => api("PATCH", `/users/${name}`, { password: `${PASSWORD}-2` }),
    "is deleted": (name: string) => api("DELETE", `/users/${name}`),
    "loses the role": async (name: string) => {
      await api("PATCH", `/users/${name}`, { isAdmin: false });
      await registry.send("DELETE", `${API_PREFIX}/projects/own/members/${name}`);
    },
  })) {
    it(`change nothing for a user who ${what}`, async () => {
      // Where anybody may call, the body itself proves who it is.
      for (const operation of OPERATIONS.filter(({ body, permission }) => body !== undefined && permission.kind !== "anyone")) {
        if (ANYBODYS.has(operation.id) && what === "loses the role") continue;
        const { path, body, isAdmin } = await CHANGES[operation.id]!();
        const subject = await user(take, isAdmin);
        const held = { method: operation.method, path: API_PREFIX + path, type: "application/json", body: JSON.stringify(body) };
        const answer = await hold(held, subject.basic, subject.take);
        assert.ok([401, 403, 404].includes(answer.status), `${operation.id}: ${answer.status} ${answer.body.toString()}`);
        assert.ok(
          ["UNAUTHORIZED", "DENIED", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"].includes(answer.code),
          `${operation.id}: ${answer.code}`,
        );
      }
    });
  }
});
