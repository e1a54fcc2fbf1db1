// The access matrix of both planes: every kind of request, of every role, with every form of credentials, to every kind of repository. The
// expectations come from the tables here, which are written from the documentation and know nothing of the code.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { API_PREFIX } from "@berth/api/operation";
import type { Operation } from "@berth/api/operation";
import { OPERATIONS } from "@berth/api/operations";
import { V2_OPERATIONS } from "../../apps/server/src/http/v2/handler.ts";
import { BODIES, type Level, LEVELS, PASSWORD } from "./access-levels.testing.ts";
import { expectStatus, sha256, startTestRegistry, type PushedImage, type TestRegistry } from "./registry.testing.ts";

const OCI = "application/vnd.oci.image.manifest.v1+json";
const ABSENT = `sha256:${"0".repeat(64)}`;
const NO_UPLOAD = "00000000-0000-4000-8000-000000000000";

// ---- The rules ----

type Action = "pull" | "push" | "delete";
type Role = "guest" | "developer" | "maintainer" | "owner";

/** All callers. A member is one of the projects `own` and `public`, not of `other`. */
const WHO = [
  "anonymous",
  "stranger",
  "guest",
  "developer",
  "maintainer",
  "owner",
  "administrator",
  "auditor",
  "creator",
  "robot-pull",
  "robot-push",
  "robot-elsewhere",
  "robot-registry",
  "disabled",
  "expired-robot",
] as const;
type Who = (typeof WHO)[number];

/** Callers whose credentials do not count any more. */
const REFUSED: ReadonlySet<Who> = new Set(["disabled", "expired-robot"]);
const MEMBERS: Partial<Record<Who, Role>> = { guest: "guest", developer: "developer", maintainer: "maintainer", owner: "owner" };
const ROLE_ACTIONS: Record<Role, readonly Action[]> = {
  guest: ["pull"],
  developer: ["pull", "push"],
  maintainer: ["pull", "push", "delete"],
  owner: ["pull", "push", "delete"],
};

/** Repositories by project and whether they exist. `none` is a project that does not exist. */
const WHERE = {
  own: "own/app",
  "own-absent": "own/abs",
  // The same as `own`, which is the default project, in one segment.
  "own-short": "app",
  public: "pub/app",
  other: "oth/app",
  "other-absent": "oth/abs",
  none: "non/app",
} as const;
/** Names of equal length, so that answers which only repeat the name are as long as each other. */
const NAMES = { own: "own", public: "pub", other: "oth", none: "non" } as const;
const PROJECTS = ["own", "public", "other", "none"] as const;
type Project = (typeof PROJECTS)[number];

function projectOf(where: Where): Project {
  return where.replace(/-.*$/, "") as Project;
}

type Where = keyof typeof WHERE;
const EXISTS: ReadonlySet<Where> = new Set(["own", "own-short", "public", "other"]);

/** The rights, by the documentation. */
function rightsOf(who: Who, where: Where): ReadonlySet<Action> {
  const project = projectOf(where);
  if (REFUSED.has(who) || project === "none") return new Set();
  const rights = new Set<Action>(project === "public" ? ["pull"] : []);
  const add = (actions: readonly Action[]): void => actions.forEach((action) => rights.add(action));
  const role = MEMBERS[who];
  if (role !== undefined && project !== "other") add(ROLE_ACTIONS[role]);
  if (who === "administrator") add(["pull", "push", "delete"]);
  if (who === "auditor") add(["pull"]);
  if (who === "robot-pull" && project === "own") add(["pull"]);
  if (who === "robot-push" && project === "own") add(["pull", "push"]);
  if (who === "robot-elsewhere" && project === "other") add(["pull", "push"]);
  if (who === "robot-registry") add(["pull", "push"]);
  return rights;
}

/** The form of the credentials. `elsewhere`: a token for another repository. `garbage`: a token that nobody signed. */
const FORMS = ["basic", "token", "elsewhere", "garbage"] as const;
type Form = (typeof FORMS)[number];

interface Endpoint {
  readonly kind: string;
  readonly method: string;
  /** Below the repository. */
  readonly path: (at: Fixture) => string;
  readonly action: Action;
  readonly body?: (at: Fixture) => { bytes: Uint8Array | string; type?: string };
  /** The statuses for callers with the right, if the repository exists and if it does not. */
  readonly allowed: number;
  readonly absent: number;
}

/** The targets of requests. If the repository does not exist, the same addresses are used. */
interface Fixture {
  readonly image: PushedImage;
}

const ENDPOINTS: readonly Endpoint[] = [
  { kind: "tags", method: "GET", path: () => "tags/list", action: "pull", allowed: 200, absent: 404 },
  { kind: "tags", method: "HEAD", path: () => "tags/list", action: "pull", allowed: 200, absent: 404 },
  { kind: "manifest-get", method: "GET", path: () => "manifests/v1", action: "pull", allowed: 200, absent: 404 },
  { kind: "manifest-get", method: "HEAD", path: () => "manifests/v1", action: "pull", allowed: 200, absent: 404 },
  { kind: "manifest-get", method: "GET", path: (at) => `manifests/${at.image.digest}`, action: "pull", allowed: 200, absent: 404 },
  { kind: "manifest-get", method: "GET", path: () => "manifests/none", action: "pull", allowed: 404, absent: 404 },
  {
    kind: "manifest-put",
    method: "PUT",
    path: () => "manifests/pushed",
    action: "push",
    body: (at) => ({ bytes: at.image.manifest, type: OCI }),
    allowed: 201,
    absent: 404,
  },
  // Only deletions of missing content, so that the matrix finds everything in place throughout.
  { kind: "manifest-delete", method: "DELETE", path: () => "manifests/none", action: "delete", allowed: 404, absent: 404 },
  { kind: "manifest-delete", method: "DELETE", path: () => `manifests/${ABSENT}`, action: "delete", allowed: 404, absent: 404 },
  { kind: "blob-get", method: "GET", path: (at) => `blobs/${at.image.layerDigest}`, action: "pull", allowed: 200, absent: 404 },
  { kind: "blob-get", method: "HEAD", path: (at) => `blobs/${at.image.layerDigest}`, action: "pull", allowed: 200, absent: 404 },
  { kind: "blob-get", method: "GET", path: () => `blobs/${ABSENT}`, action: "pull", allowed: 404, absent: 404 },
  { kind: "blob-delete", method: "DELETE", path: () => `blobs/${ABSENT}`, action: "delete", allowed: 404, absent: 404 },
  { kind: "upload-begin", method: "POST", path: () => "blobs/uploads/", action: "push", allowed: 202, absent: 202 },
  {
    kind: "upload-begin",
    method: "POST",
    path: () => `blobs/uploads/?digest=${sha256("matrix")}`,
    action: "push",
    body: () => ({ bytes: "matrix" }),
    allowed: 201,
    absent: 201,
  },
  { kind: "mount", method: "POST", path: () => `blobs/uploads/?mount=${ABSENT}&from=own/app`, action: "push", allowed: 202, absent: 202 },
  { kind: "upload-get", method: "GET", path: () => `blobs/uploads/${NO_UPLOAD}`, action: "push", allowed: 404, absent: 404 },
  {
    kind: "upload-append",
    method: "PATCH",
    path: () => `blobs/uploads/${NO_UPLOAD}`,
    action: "push",
    body: () => ({ bytes: "x" }),
    allowed: 404,
    absent: 404,
  },
  {
    kind: "upload-finish",
    method: "PUT",
    path: () => `blobs/uploads/${NO_UPLOAD}?digest=${ABSENT}`,
    action: "push",
    allowed: 404,
    absent: 404,
  },
  { kind: "upload-cancel", method: "DELETE", path: () => `blobs/uploads/${NO_UPLOAD}`, action: "push", allowed: 404, absent: 404 },
  { kind: "referrers", method: "GET", path: (at) => `referrers/${at.image.digest}`, action: "pull", allowed: 200, absent: 200 },
];

/** The status for a request without the right, by the documentation of both planes. */
function refusalOf(who: Who, form: Form, endpoint: Endpoint, where: Where): number {
  if (form === "garbage" || REFUSED.has(who) || who === "anonymous") return 401;
  // A token for another repository makes the client request a better one, whatever that would allow.
  if (form === "elsewhere") return 401;
  if (who === "administrator" && where === "none") return 404;
  return endpoint.action === "pull" ? 404 : 403;
}

// ---- The registry under test ----

interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

describe("access matrix", () => {
  let registry: TestRegistry;
  const images = new Map<string, PushedImage>();
  const basics = new Map<Who, string>();
  const robotNames = new Map<Who, string>();
  let tried = 0;

  const basicOf = (name: string, secret: string): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;
  async function api(method: string, path: string, body?: unknown): Promise<Record<string, unknown>> {
    const answer = await registry.send(method, `${API_PREFIX}${path}`, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { "content-type": "application/json" },
    });
    assert.ok(answer.ok, `${method} ${path}: ${answer.status}`);
    return (await answer.json()) as Record<string, unknown>;
  }

  before(async () => {
    registry = await startTestRegistry({ "projects.default": NAMES.own });
    for (const [name, visibility] of [
      ["own", "private"],
      ["public", "public"],
      ["other", "private"],
    ] as const) {
      // The default project exists from the start.
      if (name === "own") await api("PATCH", `/projects/${NAMES.own}`, { visibility });
      else await api("POST", "/projects", { name: NAMES[name], visibility });
      images.set(name, await registry.pushImage(WHERE[name], "v1", 20_000));
    }
    for (const who of ["stranger", "guest", "developer", "maintainer", "owner", "disabled", "auditor", "creator"] as const) {
      await api("POST", "/users", {
        name: who,
        password: PASSWORD,
        ...(who === "auditor" || who === "creator" ? { systemRole: who } : {}),
      });
      basics.set(who, basicOf(who, PASSWORD));
      const role = who === "disabled" ? "owner" : MEMBERS[who];
      if (role === undefined) continue;
      for (const project of [NAMES.own, NAMES.public]) await api("PUT", `/projects/${project}/members/${who}`, { role });
    }
    await api("PATCH", "/users/disabled", { isDisabled: true });
    basics.set("administrator", basicOf("admin", "flow-test-password"));
    const robots: [Who, string, string, string, string[]][] = [
      ["robot-pull", "/projects/own/robots", "puller", "own/**", ["pull"]],
      ["robot-push", "/projects/own/robots", "pusher", "own/*", ["pull", "push"]],
      ["robot-elsewhere", "/projects/oth/robots", "there", "oth/**", ["pull", "push"]],
      ["robot-registry", "/robots", "all", "**", ["pull", "push"]],
      ["expired-robot", "/projects/own/robots", "old", "own/**", ["pull", "push", "delete"]],
    ];
    for (const [who, path, name, repositories, actions] of robots) {
      const expiresAt = new Date(Date.now() + 5_000).toISOString();
      const made = await api("POST", path, {
        name,
        scopes: [{ repositories, actions }],
        ...(who === "expired-robot" ? { expiresAt } : {}),
      });
      basics.set(who, basicOf(String(made["login"]), String(made["secret"])));
      robotNames.set(who, String(made["login"]));
    }
    // The robot has expired when its credentials no longer count; nothing else can end this wait.
    for (;;) {
      const answer = await registry.send("GET", "/token", { headers: { authorization: basics.get("expired-robot")! } });
      await answer.body?.cancel();
      if (answer.status === 401) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  after(async () => {
    await registry.stop();
    console.log(`access matrix: ${tried} requests`);
  });

  async function send(
    method: string,
    path: string,
    authorization: string | undefined,
    body?: { bytes: Uint8Array | string; type?: string },
  ): Promise<Answer> {
    tried++;
    const answer = await registry.send(method, path, {
      anonymous: true,
      headers: {
        ...(authorization === undefined ? {} : { authorization }),
        ...(body?.type === undefined ? {} : { "content-type": body.type }),
      },
      ...(body === undefined ? {} : { body: body.bytes }),
    });
    const headers = [...answer.headers].filter(([name]) => name !== "date" && name !== "x-request-id");
    return { status: answer.status, headers: JSON.stringify(headers), body: await answer.text() };
  }

  async function tokenOf(who: Who, scopes: readonly string[]): Promise<string | undefined> {
    const basic = basics.get(who);
    const query = scopes.map((scope) => `scope=${encodeURIComponent(scope)}`).join("&");
    const answer = await registry.send("GET", `/token?service=berth&${query}`, {
      anonymous: true,
      headers: basic === undefined ? {} : { authorization: basic },
    });
    if (REFUSED.has(who)) {
      assert.equal(answer.status, 401, who);
      await answer.body?.cancel();
      return undefined;
    }
    return ((await expectStatus(answer, 200).then((got) => got.json())) as { token: string }).token;
  }

  /** The header for a form, or undefined if there can be none. */
  async function authorizationOf(who: Who, form: Form, repository: string): Promise<{ header: string | undefined } | undefined> {
    if (form === "basic") return { header: basics.get(who) };
    if (form === "garbage") return who === "stranger" ? { header: "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9." } : undefined;
    // Also the mount's source: a client that may read it is told to request both.
    const scopes =
      form === "token"
        ? [`repository:${repository}:pull,push,delete`, "repository:own/app:pull"]
        : ["repository:pub/elsewhere:pull,push,delete"];
    const token = await tokenOf(who, scopes);
    return token === undefined ? undefined : { header: `Bearer ${token}` };
  }

  /** With every name of a repository, its project and its content made the same. */
  function blur(answer: Answer, where: Where): Answer {
    const repository = WHERE[where];
    const project = repository.split("/")[0]!;
    const escaped = [repository, encodeURIComponent(repository)];
    const replace = (text: string): string =>
      escaped
        .reduce((result, name) => result.replaceAll(name, "<repository>"), text)
        .replaceAll(`project ${project} `, "project <project> ");
    return { status: answer.status, headers: replace(answer.headers), body: replace(answer.body) };
  }

  it("covers every kind of request of the data plane", () => {
    const covered = new Set([...ENDPOINTS.map((each) => each.kind), "ping", "catalog", "unparsed"]);
    assert.deepEqual([...covered].toSorted(), [...V2_OPERATIONS].toSorted());
  });

  for (const who of WHO) {
    it(`${who} may do in repositories what the rules say, and cannot tell a private one from none`, async () => {
      for (const form of FORMS) {
        const refused = new Map<Endpoint, Map<Where, Answer>>();
        for (const where of Object.keys(WHERE) as Where[]) {
          const credentials = await authorizationOf(who, form, WHERE[where]);
          if (credentials === undefined) continue;
          const at: Fixture = { image: images.get("other")! };
          const own = images.get(projectOf(where)) ?? at.image;
          const rights = rightsOf(who, where);
          for (const endpoint of ENDPOINTS) {
            // Callers that may not pull use content of the other project, so that only the name differs.
            const fixture = rights.has("pull") ? { image: own } : at;
            const what = `${who} ${form} ${endpoint.method} ${WHERE[where]}/${endpoint.path(fixture).replaceAll(/[0-9a-f]{64}/g, "…")}`;
            const answer = await send(
              endpoint.method,
              `/v2/${WHERE[where]}/${endpoint.path(fixture)}`,
              credentials.header,
              endpoint.body?.(fixture),
            );
            const isAllowed = rights.has(endpoint.action) && (form === "basic" || form === "token");
            const exists = EXISTS.has(where);
            const expected = isAllowed ? (exists ? endpoint.allowed : endpoint.absent) : refusalOf(who, form, endpoint, where);
            // A push creates the absent repository of the own project, and later requests find it there.
            const mayExist = isAllowed && where.endsWith("-absent") ? [endpoint.allowed, endpoint.absent] : [expected];
            assert.ok(mayExist.includes(answer.status), `${what}: ${answer.status} ${answer.body}, not ${mayExist.join(" or ")}`);
            if (isAllowed) continue;
            assert.equal(answer.headers.includes("docker-content-digest"), false, what);
            assert.equal(answer.headers.includes('"www-authenticate"'), answer.status === 401, what);
            if (!rights.has("pull")) {
              if (!refused.has(endpoint)) refused.set(endpoint, new Map());
              refused.get(endpoint)!.set(where, blur(answer, where));
            }
          }
        }
        for (const [endpoint, answers] of refused) {
          // The names that are compared are as long as each other.
          const [first, ...others] = [...answers].filter(([where]) => where !== "own-short");
          // An administrator only lacks projects that do not exist, and is told so.
          for (const [where, answer] of others) {
            assert.deepEqual(
              answer,
              first![1],
              `${who} ${form} ${endpoint.method} ${endpoint.kind}: ${where} is answered otherwise than ${first![0]}`,
            );
          }
        }
      }
    });
  }

  it("nobody reaches what they may not read by mounting it, by an upload of another repository, or by its digest", async () => {
    const secret = images.get("other")!;
    const pusher = basics.get("developer");
    for (const from of ["oth/app", "oth/abs", "non/app", undefined]) {
      for (const digest of [secret.layerDigest, ABSENT]) {
        const answer = await send(
          "POST",
          `/v2/own/stolen/blobs/uploads/?mount=${digest}${from === undefined ? "" : `&from=${from}`}`,
          pusher,
        );
        assert.equal(answer.status, 202, `${from} ${digest}`);
      }
    }
    assert.equal((await send("GET", `/v2/own/stolen/blobs/${secret.layerDigest}`, pusher)).status, 404);
    assert.equal((await send("GET", `/v2/own/app/blobs/${secret.layerDigest}`, pusher)).status, 404);
    assert.equal((await send("GET", `/v2/own/app/manifests/${secret.digest}`, pusher)).status, 404);
    // A manifest that names unreadable content does not make it readable.
    const named = await send("PUT", "/v2/own/stolen/manifests/v1", pusher, { bytes: secret.manifest, type: OCI });
    assert.equal(named.status, 404);

    const begun = await registry.send("POST", "/v2/oth/app/blobs/uploads/");
    const location = begun.headers.get("location")!;
    const id = location.slice(location.lastIndexOf("/") + 1);
    const bytes = randomBytes(50);
    for (const [method, path, body] of [
      ["GET", `/v2/own/app/blobs/uploads/${id}`, undefined],
      ["PATCH", `/v2/own/app/blobs/uploads/${id}`, bytes],
      ["PUT", `/v2/own/app/blobs/uploads/${id}?digest=${sha256(bytes)}`, bytes],
      ["DELETE", `/v2/own/app/blobs/uploads/${id}`, undefined],
    ] as const) {
      const answer = await send(method, path, pusher, body === undefined ? undefined : { bytes: body });
      assert.equal(answer.status, 404, `${method} ${path}`);
      const unknown = await send(method, path.replace(id, NO_UPLOAD), pusher, body === undefined ? undefined : { bytes: body });
      assert.deepEqual(
        [answer.status, answer.headers, answer.body.replaceAll(id, "<upload>")],
        [unknown.status, unknown.headers, unknown.body.replaceAll(NO_UPLOAD, "<upload>")],
      );
    }
    assert.equal((await send("GET", `/v2/oth/app/blobs/uploads/${id}`, basics.get("administrator"))).status, 204);
  });

  it("the ping and the catalog show everyone exactly what they may pull", async () => {
    for (const who of WHO) {
      const known = !REFUSED.has(who) && who !== "anonymous";
      const token = await tokenOf(who, ["registry:catalog:*"]);
      const bare = await tokenOf(who, []);
      for (const [form, header] of [
        ["basic", basics.get(who)],
        ["token", token === undefined ? undefined : `Bearer ${token}`],
      ] as const) {
        if (form === "token" && header === undefined) continue;
        const ping = await send("GET", "/v2/", header);
        // The anonymous token counts as one: clients continue with it.
        assert.equal(ping.status, known || form === "token" ? 200 : 401, `${who} ${form}`);
        const catalog = await send("GET", "/v2/_catalog?n=1000", header);
        // Clients that only authenticate when challenged would otherwise take the public part for everything.
        const isAsked = REFUSED.has(who) || (who === "anonymous" && form === "basic");
        assert.equal(catalog.status, isAsked ? 401 : 200, `${who} ${form}`);
        if (isAsked) continue;
        const shown = (JSON.parse(catalog.body) as { repositories: string[] }).repositories;
        const projects = new Set(shown.map((name) => name.split("/")[0]));
        for (const where of ["own", "public", "other"] as const) {
          assert.equal(projects.has(NAMES[where]), rightsOf(who, where).has("pull"), `${who} ${form} sees ${shown.join(" ")}`);
        }
      }
      if (bare !== undefined) assert.equal((await send("GET", "/v2/_catalog", `Bearer ${bare}`)).status, 401, who);
    }
  });

  it("a token holds what the account may do of what it asks for, and says the same of a private repository and of none", async () => {
    const claimsOf = (token: string): { access: { name: string; actions: string[] }[] } =>
      JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as never;
    for (const who of WHO.filter((each) => !REFUSED.has(each))) {
      for (const where of Object.keys(WHERE) as Where[]) {
        const token = (await tokenOf(who, [`repository:${WHERE[where]}:pull,push,delete`]))!;
        const [entry, ...more] = claimsOf(token).access;
        assert.deepEqual([entry!.name, more.length], [WHERE[where], 0]);
        assert.deepEqual(new Set(entry!.actions), rightsOf(who, where), `${who} ${where}`);
      }
    }
  });

  // ---- The control plane ----

  function isRobot(who: Who): boolean {
    return who.includes("robot");
  }
  /** Who sees that a project exists. */
  function sees(who: Who, project: Project): boolean {
    return project !== "none" && (who === "administrator" || rightsOf(who, project).has("pull"));
  }
  /** Undefined: admitted. */
  function refusalOnApi(who: Who, level: Level, project: Project): number | undefined {
    if (REFUSED.has(who)) return 401;
    if (level === "anyone") return undefined;
    const role = project === "own" || project === "public" ? MEMBERS[who] : undefined;
    const isAdmin = who === "administrator";
    const isAuditor = who === "auditor";
    const isIn = {
      account: who !== "anonymous",
      user: who !== "anonymous" && !isRobot(who),
      administrator: isAdmin,
      auditor: isAdmin || isAuditor,
      creator: isAdmin || who === "creator",
      reader: sees(who, project),
      member: sees(who, project) && (isAdmin || isAuditor || role !== undefined),
      "keeper-reads": sees(who, project) && (isAdmin || isAuditor || role === "maintainer" || role === "owner"),
      keeper: sees(who, project) && (isAdmin || role === "maintainer" || role === "owner"),
      owner: sees(who, project) && (isAdmin || role === "owner"),
    }[level];
    if (isIn) return undefined;
    if (who === "anonymous") return 401;
    const isOfProject = level === "reader" || level === "member" || level === "keeper" || level === "keeper-reads" || level === "owner";
    return isOfProject && !sees(who, project) ? 404 : 403;
  }

  it("covers every operation of the control plane", () => {
    assert.deepEqual(OPERATIONS.map((each) => each.id).toSorted(), Object.keys(LEVELS).toSorted());
    for (const operation of OPERATIONS) assert.equal(operation.body !== undefined, operation.id in BODIES, operation.id);
  });

  function pathOf(operation: Operation, project: Project): string {
    return (
      API_PREFIX +
      operation.path
        .replace("{project}", NAMES[project])
        .replaceAll(/\{(?:user|group|robot|rule|issuer|directory|webhook|repository|tag)\}/g, "nobody")
        .replace(/\{(?:job|plan|token|session|delivery)\}/, "999999999")
        .replace("{upload}", "0".repeat(36))
        .replace("{reference}", `sha256:${"0".repeat(64)}`)
    );
  }

  for (const who of WHO) {
    it(`${who} may do on the control plane what the rules say, and cannot tell a private project from none`, async () => {
      const token = await tokenOf(who, ["repository:own/app:pull,push,delete", "registry:catalog:*"]);
      for (const operation of OPERATIONS) {
        // Real deletions would end the matrix; that operation is only tried where it must be refused, or on something that is not empty.
        const unseen: string[] = [];
        for (const project of operation.path.includes("{project}") ? PROJECTS : (["own"] as const)) {
          const body = BODIES[operation.id]?.(NAMES[project]);
          const json = body === undefined ? undefined : { bytes: JSON.stringify(body), type: "application/json" };
          const what = `${who} ${operation.id} ${project}`;
          const answer = await send(operation.method, pathOf(operation, project), basics.get(who), json);
          const refusal = refusalOnApi(who, LEVELS[operation.id]!, project);
          const isJson = refusal !== undefined || operation.stream === undefined;
          const code = (JSON.parse(isJson && answer.body !== "" ? answer.body : "{}") as { errors?: { code: string }[] }).errors?.[0]?.code;
          if (refusal !== undefined) {
            assert.equal(answer.status, refusal, `${what}: ${answer.status} ${answer.body}`);
            assert.equal(code, { 401: "UNAUTHORIZED", 403: "DENIED", 404: "PROJECT_UNKNOWN" }[refusal], what);
            if (!sees(who, project)) unseen.push(JSON.stringify(answer));
          } else {
            // Admitted: done, or refused for the request and not for the caller.
            assert.ok(
              answer.status < 300 || (code !== "DENIED" && code !== "UNAUTHORIZED" && code !== "PROJECT_UNKNOWN"),
              `${what}: ${answer.status} ${answer.body}`,
            );
            assert.ok(answer.status < 500, what);
          }
          if (token !== undefined && project === "own") {
            const byToken = await send(operation.method, pathOf(operation, project), `Bearer ${token}`, json);
            assert.equal(byToken.status, 401, `${what} with a token of the data plane: ${byToken.status}`);
          }
        }
        assert.ok(new Set(unseen).size <= 1, `${who} ${operation.id}: ${unseen.join("\n")}`);
      }
    });
  }

  it("the list of projects shows everyone exactly what they may see", async () => {
    for (const who of WHO.filter((each) => !REFUSED.has(each))) {
      const answer = await send("GET", `${API_PREFIX}/projects`, basics.get(who));
      const names = (JSON.parse(answer.body) as { items: { name: string }[] }).items.map((each) => each.name);
      for (const project of ["own", "public", "other"] as const)
        assert.equal(names.includes(NAMES[project]), sees(who, project), `${who}: ${names.join(" ")}`);
    }
  });

  it("what lies outside both planes is open to whom it should be", async () => {
    for (const who of WHO) {
      const header = basics.get(who);
      assert.equal((await send("GET", "/healthz", header)).status, 200);
      assert.equal((await send("GET", "/readyz", header)).status, 200);
      const metrics = await send("GET", "/metrics", header);
      assert.equal(
        metrics.status,
        who === "administrator" || who === "auditor" ? 200 : REFUSED.has(who) || who === "anonymous" ? 401 : 403,
        who,
      );
      assert.equal((await send("GET", "/nothing", header)).status, 404);
    }
  });
});
