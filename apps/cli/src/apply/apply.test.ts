// Files of `berth apply` and the plans that follow from them. Not here: a registry that is changed by them (test/flows/apply.test.ts).
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import type { ApplyDocument } from "@berth/api/apply";
import type { IssuerView } from "@berth/api/issuers";
import type { NetworksView } from "@berth/api/networks";
import type { RobotScopeView } from "@berth/api/robots";
import type { TrustRuleView } from "@berth/api/trust";
import type { WebhookView } from "@berth/api/webhooks";
import { Stopped } from "../misuse.ts";
import { makePlan } from "./plan.ts";
import { readDocuments } from "./read-documents.ts";
import type { GroupState, ProjectState, RegistryState, RobotState } from "./registry-state.ts";
import { documentsOf } from "./write-documents.ts";

const read = (text: string): ReturnType<typeof readDocuments> => readDocuments(["-"], { stdin: Readable.from([text]) });
const HEAD = "apiVersion: berth/v1\nkind: Project\nname: team\n";

describe("files of apply", () => {
  it("are YAML or JSON, with one document or many, from files, folders and the input", async () => {
    const folder = await mkdtemp(join(tmpdir(), "berth-apply-"));
    try {
      await writeFile(join(folder, "b.yaml"), `${HEAD}---\n---\n${HEAD.replace("team", "other")}`);
      await writeFile(join(folder, "a.json"), JSON.stringify({ apiVersion: "berth/v1", kind: "Project", name: "third" }));
      await writeFile(join(folder, "notes.txt"), "not read");
      const found = await readDocuments([folder], { stdin: Readable.from([]) });
      assert.deepEqual(
        found.map(({ document, place }) => [document.kind, "name" in document && document.name, place.slice(folder.length + 1)]),
        [
          ["Project", "third", "a.json:1"],
          ["Project", "team", "b.yaml:1"],
          ["Project", "other", "b.yaml:6"],
        ],
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  for (const [what, text, problem] of [
    ["another version", "apiVersion: berth/v2\nkind: Project\nname: team", /input:1: apiVersion must be berth\/v1/],
    ["another kind", "apiVersion: berth/v1\nkind: Projct\nname: team", /input:2: kind must be one of .*did you mean Project/],
    ["no document", "# nothing\n", /no document/],
    ["a list", "- 1\n- 2\n", /apiVersion must be/],
    ["what is no YAML", `${HEAD}members: [}`, /input:4: /],
    ["a name twice", `${HEAD}name: again\n`, /input:4: Map keys must be unique/],
    ["an unknown field", `${HEAD}colour: red\n`, /input:4: colour is not a known field/],
    ["a wrong role", `${HEAD}members:\n  - user: ada\n    role: boss\n`, /input:6: members\.0\.role must be one of/],
    ["a role that is missing", `${HEAD}members:\n  - user: ada\n`, /input:5: members\.0\.role is missing/],
    [
      "a member twice",
      `${HEAD}members:\n  - {user: ada, role: guest}\n  - {user: ada, role: owner}\n`,
      /member team\/ada stands in this document/,
    ],
    [
      "a member's scope twice",
      `${HEAD}members:\n  - user: ada\n    role: guest\n    scopes: [{repositories: team/a, actions: [pull]}, {repositories: team/a, actions: [pull]}]\n`,
      /scope team\/a of member team\/ada stands in this document/,
    ],
    ["a project twice", `${HEAD}---\n${HEAD}`, /input:5: project team stands in input:1/],
    [
      "aliases without an end",
      `apiVersion: berth/v1\na: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]`,
      /alias/i,
    ],
  ] as const) {
    it(`refuse ${what}`, async () => {
      await assert.rejects(read(text), (error) => error instanceof Stopped && problem.test(error.message));
    });
  }
});

const CREATED = "2026-01-01T00:00:00.000Z";

const ROBOT: RobotState = {
  name: "ci",
  login: "team+ci",
  scopes: [{ repositories: "team/**", actions: ["push", "pull"] }],
  isDisabled: false,
  hasSecret: true,
  expiresAt: "2027-01-01T00:00:00.000Z",
  createdAt: CREATED,
  trust: [],
};

function stateOf(projects: readonly ProjectState[], more: Partial<RegistryState> = {}): RegistryState {
  const nothing = { groups: new Map(), issuers: [], robots: [], webhooks: [], settings: [] };
  return { caller: "admin", projects: new Map(projects.map((each) => [each.name, each])), ...nothing, ...more };
}

const shown = (steps: ReturnType<typeof makePlan>): string[] =>
  steps.map(({ action, kind, name, call }) => `${action} ${kind} ${name}${call === undefined ? "" : ` ${call.operation.id}`}`);

describe("plans", () => {
  const project = (more: object): ApplyDocument => ({ apiVersion: "berth/v1", kind: "Project", name: "team", ...more });
  const team: ProjectState = {
    name: "team",
    visibility: "private",
    description: null,
    contact: null,
    labels: [],
    networks: undefined,
    members: [{ user: "admin", role: "owner" }],
    groups: [],
    robots: [ROBOT],
    webhooks: [],
  };
  const operators: GroupState = {
    name: "operators",
    description: "",
    source: { kind: "local" },
    systemRole: null,
    createdAt: CREATED,
    members: ["bob"],
  };
  const github: IssuerView = {
    name: "github",
    url: "https://token.actions.githubusercontent.com",
    audiences: ["https://berth.example"],
    algorithms: ["RS256", "ES256"],
    isDisabled: false,
    isSingleUse: false,
    keys: { source: "fetched", state: "ready", ids: ["k1"], count: 1, updatedAt: null, triedAt: null, error: null },
    createdAt: CREATED,
  };
  const rule = {
    name: "main",
    issuer: "github",
    conditions: [
      { claim: "repository_id", equals: "1" },
      { claim: "ref", oneOf: ["refs/heads/main", "refs/heads/next"] },
    ],
    warnings: [],
    createdAt: CREATED,
  } satisfies TrustRuleView;
  const webhook: WebhookView = {
    name: "chat",
    address: "https://chat.example/hook",
    form: "slack",
    kinds: ["tag.moved", "manifest.pushed"],
    repositories: "",
    tags: "",
    template: null,
    isEnabled: true,
    hasAuthorization: true,
    breaker: { state: "closed", failures: 0, until: null },
    secrets: [],
    createdAt: CREATED,
  };

  it("change from where a project may be used, whichever order the lists have, and not what a file does not say", () => {
    const stateWith = (networks: NetworksView) => stateOf([{ ...team, networks }]);
    const planOf = (more: object, found: NetworksView) => shown(makePlan([project(more)], stateWith(found), { prune: true }));
    const found = { allow: ["10.0.0.0/8", "192.0.2.1"], deny: ["10.9.0.0/16"] };
    assert.deepEqual(planOf({ networks: { allow: ["192.0.2.1", "10.0.0.0/8"], deny: ["10.9.0.0/16"] } }, found), []);
    assert.deepEqual(planOf({}, found), []);
    assert.deepEqual(planOf({ networks: null }, { allow: [], deny: [] }), []);
    assert.deepEqual(planOf({ networks: null }, found), ["update networks team putProjectNetworks"]);
    const [step] = makePlan([project({ networks: { allow: ["10.0.0.0/8"], deny: ["10.9.0.0/16"] } })], stateWith(found), { prune: true });
    assert.deepEqual(step?.changes, [{ field: "allow", from: found.allow, to: ["10.0.0.0/8"] }]);
    assert.deepEqual(step?.call?.body, { allow: ["10.0.0.0/8"], deny: ["10.9.0.0/16"] });
  });

  it("make a project with its owners before others, and take the caller's own membership away last", () => {
    const members = [
      { user: "bob", role: "guest" },
      { user: "ada", role: "owner" },
    ];
    const robots = [{ name: "ci", scopes: ROBOT.scopes, isDisabled: true }];
    const steps = makePlan([project({ visibility: "public", members, robots })], stateOf([]), { prune: true });
    assert.deepEqual(shown(steps), [
      "create project team createProject",
      "create member team/ada putMember",
      "create member team/bob putMember",
      "create robot team+ci createProjectRobot",
      "update robot team+ci updateProjectRobot",
      "delete member team/admin deleteMember",
    ]);
  });

  it("leave alone what a file does not say, and show what only the registry has without --prune", () => {
    assert.deepEqual(makePlan([project({})], stateOf([team]), { prune: true }), []);
    const steps = makePlan([project({ members: [], robots: [] })], stateOf([team]), { prune: false });
    assert.deepEqual(shown(steps), ["extra member team/admin", "extra robot team+ci"]);
  });

  it("find no difference in another order or another spelling of a time", () => {
    const robots = [
      { name: "ci", scopes: [{ repositories: "team/**", actions: ["pull", "push"] }], expiresAt: "2027-01-01T01:00:00+01:00" },
    ];
    assert.deepEqual(makePlan([project({ robots })], stateOf([team]), { prune: true }), []);
  });

  it("send only the fields that differ", () => {
    const robots = [{ name: "ci", scopes: ROBOT.scopes, expiresAt: null }];
    const [step] = makePlan([project({ robots })], stateOf([team]), { prune: true });
    assert.deepEqual(step?.call?.body, { expiresAt: null });
    assert.deepEqual(step.changes, [{ field: "expiresAt", from: ROBOT.expiresAt, to: null }]);
  });

  it("keep what a member's role is narrowed to, unless the file says otherwise", () => {
    const scopes: RobotScopeView[] = [{ repositories: "team/web", actions: ["push", "pull"] }];
    const narrowed = stateOf([{ ...team, members: [{ user: "bob", role: "developer", scopes }] }]);
    const bodyFor = (member: object): object | undefined => {
      const steps = makePlan([project({ members: [{ user: "bob", ...member }] })], narrowed, { prune: true });
      return steps[0]?.call?.body;
    };
    assert.equal(bodyFor({ role: "developer" }), undefined);
    assert.equal(bodyFor({ role: "developer", scopes: [{ repositories: "team/web", actions: ["pull", "push"] }] }), undefined);
    assert.deepEqual(bodyFor({ role: "maintainer" }), { role: "maintainer", scopes });
    assert.deepEqual(bodyFor({ role: "developer", scopes: null }), { role: "developer" });
    const other = [{ repositories: "team/**", actions: ["pull"] }];
    assert.deepEqual(bodyFor({ role: "developer", scopes: other }), { role: "developer", scopes: other });
    const [step] = makePlan([project({ members: [{ user: "ada", role: "guest", scopes: other }] })], narrowed, { prune: false });
    assert.deepEqual(step?.call?.body, { role: "guest", scopes: other });
    assert.deepEqual(step.changes, [
      { field: "role", from: undefined, to: "guest" },
      { field: "scopes", from: undefined, to: ["team/**:pull"] },
    ]);
    const exported = documentsOf(narrowed);
    assert.deepEqual(exported[0]?.kind === "Project" && exported[0].members, [{ user: "bob", role: "developer", scopes }]);
    assert.deepEqual(makePlan(exported, narrowed, { prune: true }), []);
  });

  it("change settings, and refuse those that the registry does not have", () => {
    const setting = { path: "log.level", value: "info", configured: "info", source: "default", fixedBy: null, about: "" } as const;
    const settings = (path: string, value: string | null): ApplyDocument[] => [
      { apiVersion: "berth/v1", kind: "Settings", values: [{ path, value }] },
    ];
    const state = stateOf([], { settings: [setting] });
    assert.deepEqual(makePlan(settings("log.level", null), state, { prune: false }), []);
    assert.deepEqual(shown(makePlan(settings("log.level", "debug"), state, { prune: false })), ["update setting log.level updateSettings"]);
    assert.throws(() => makePlan(settings("log.colour", "red"), state, { prune: false }), Stopped);
  });

  it("make issuers and groups before the projects that name them", () => {
    const documents: ApplyDocument[] = [
      project({
        description: "Shop",
        labels: [{ key: "cost", value: "7" }],
        groups: [{ group: "operators", role: "maintainer" }],
        robots: [
          {
            name: "ci",
            scopes: ROBOT.scopes,
            withoutSecret: true,
            trust: [{ name: "main", issuer: "github", conditions: rule.conditions }],
          },
        ],
        webhooks: [{ name: "chat", address: webhook.address, form: "slack" }],
      }),
      { apiVersion: "berth/v1", kind: "Group", name: "operators", systemRole: "auditor", members: ["bob"] },
      { apiVersion: "berth/v1", kind: "Issuer", name: "github", url: github.url, audiences: github.audiences, isDisabled: true },
      { apiVersion: "berth/v1", kind: "Webhook", name: "all", address: "https://all.example/" },
    ];
    const steps = makePlan(documents, stateOf([]), { prune: false });
    assert.deepEqual(shown(steps), [
      "create issuer github createIssuer",
      "update issuer github updateIssuer",
      "create group operators createGroup",
      "create member operators/bob addGroupMember",
      "create project team createProject",
      "create group team/operators putProjectGroup",
      "create robot team+ci createProjectRobot",
      "create trust team+ci/main putProjectRobotTrustRule",
      "create webhook team/chat createProjectWebhook",
      "create webhook all createRegistryWebhook",
    ]);
    assert.deepEqual(steps[4]?.call?.body, { name: "team", description: "Shop", labels: [{ key: "cost", value: "7" }] });
    assert.deepEqual(steps[6]?.call?.body, { name: "ci", scopes: ROBOT.scopes, withoutSecret: true });
    assert.deepEqual(steps[7]?.call?.body, { issuer: "github", conditions: rule.conditions });
  });

  it("find what differs in groups, issuers, trust rules and webhooks", () => {
    const robots = [{ ...ROBOT, trust: [rule, { ...rule, name: "old" }] }];
    const state = stateOf(
      [{ ...team, labels: [{ key: "a", value: "1" }], groups: [{ group: "operators", role: "guest" }], robots, webhooks: [webhook] }],
      {
        groups: new Map([["operators", operators]]),
        issuers: [github],
      },
    );
    const conditions = rule.conditions.toReversed();
    const wanted = { name: "ci", scopes: ROBOT.scopes };
    const same: ApplyDocument[] = [
      project({
        robots: [{ ...wanted, trust: [rule, { ...rule, name: "old" }].map(({ name, issuer }) => ({ name, issuer, conditions })) }],
      }),
      project({ webhooks: [{ name: "chat", address: webhook.address, kinds: ["manifest.pushed", "tag.moved"] }] }),
      { apiVersion: "berth/v1", kind: "Group", name: "operators", source: { kind: "local" } },
      {
        apiVersion: "berth/v1",
        kind: "Issuer",
        name: "github",
        url: github.url,
        audiences: github.audiences,
        algorithms: ["ES256", "RS256"],
      },
    ];
    assert.deepEqual(makePlan(same, state, { prune: true }), []);
    const documents: ApplyDocument[] = [
      project({ labels: [], groups: [], webhooks: [{ name: "chat", address: "https://other.example/", isEnabled: false }] }),
      project({ robots: [{ ...wanted, trust: [{ name: "main", issuer: "github", conditions: [rule.conditions[0]!] }] }] }),
      { apiVersion: "berth/v1", kind: "Group", name: "operators", systemRole: "creator", members: ["ada"] },
      { apiVersion: "berth/v1", kind: "Issuer", name: "github", url: github.url, audiences: ["b", "a"], keys: '{"keys":[{"kid":"new"}]}' },
    ];
    const steps = makePlan(documents, state, { prune: true });
    assert.deepEqual(shown(steps), [
      "update issuer github updateIssuer",
      "update group operators updateGroup",
      "create member operators/ada addGroupMember",
      "update project team updateProject",
      "update webhook team/chat updateProjectWebhook",
      "update trust team+ci/main putProjectRobotTrustRule",
      "delete member operators/bob removeGroupMember",
      "delete group team/operators deleteProjectGroup",
      "delete trust team+ci/old deleteProjectRobotTrustRule",
    ]);
    assert.deepEqual(steps[0]?.call?.body, { audiences: ["b", "a"], keys: '{"keys":[{"kid":"new"}]}' });
    assert.deepEqual(steps[3]?.call?.body, { labels: [] });
    assert.deepEqual(steps[4]?.call?.body, { address: "https://other.example/", isEnabled: false });
  });

  it("refuse what cannot be changed, before anything is", () => {
    const state = stateOf([], { groups: new Map([["operators", operators]]), issuers: [github] });
    const refused = (document: object, problem: RegExp): void =>
      assert.throws(
        () => makePlan([{ apiVersion: "berth/v1", ...document } as ApplyDocument], state, { prune: false }),
        (error) => error instanceof Stopped && problem.test(error.message),
      );
    const issuer = { kind: "Issuer", name: "github", audiences: ["a"] };
    refused({ kind: "Group", name: "operators", source: { kind: "oidc", provider: "sso", key: "ops" } }, /operators has another source/);
    refused({ ...issuer, url: "https://other.example" }, /github is https:\/\/token/);
    refused({ ...issuer, url: github.url, keys: "no JSON" }, /must be a JWK set/);
  });

  it("find no difference to what was exported", () => {
    const setting = { path: "log.level", value: "debug", configured: "info", source: "api", fixedBy: null, about: "" } as const;
    const state = stateOf([team, { ...team, name: "hidden", members: undefined, robots: undefined }], {
      robots: [{ ...ROBOT, name: "all", isDisabled: true, scopes: [{ repositories: "**", actions: ["pull"] }], trust: [rule] }],
      settings: [setting],
      groups: new Map([["operators", operators]]),
      issuers: [github],
      webhooks: [webhook],
    });
    const documents = documentsOf(state);
    assert.deepEqual(
      documents.map(({ kind }) => kind),
      ["Settings", "Issuer", "Group", "Robot", "Webhook", "Project", "Project"],
    );
    assert.deepEqual(makePlan(documents, state, { prune: true }), []);
  });
});
