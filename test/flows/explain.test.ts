// Explanations against decisions: in random worlds of accounts, groups, narrowed roles, robots and tokens, what is explained is what /v2/ and the API
// then do; and who may not see something is told the same of what is hidden and of what is not there. Not here: single rules (access/*.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ExplanationView } from "@berth/api/explain";
import { ENGINES } from "./engines.testing.ts";
import { type PushedImage, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "explain-test-password";
const OCI = "application/vnd.oci.image.manifest.v1+json";
const ABSENT = `sha256:${"0".repeat(64)}`;
const PROJECTS = ["alpha", "bravo", "gamma"] as const;
/** `delta` does not exist. */
const ASKED_PROJECTS = [...PROJECTS, "delta"] as const;
const REPOSITORIES = PROJECTS.flatMap((project) => [`${project}/app`, `${project}/lib/a`]);

/** The seeds of the worlds: `BERTH_TEST_SEED` makes one of its own. */
const SEEDS = process.env["BERTH_TEST_SEED"] === undefined ? [1, 2, 3] : [Number(process.env["BERTH_TEST_SEED"])];

/** A repeatable source of choices. */
function createChoices(seed: number) {
  let state = seed;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const chance = (p: number): boolean => next() < p;
  const one = <T>(of: readonly T[]): T => of[Math.floor(next() * of.length)]!;
  const some = <T>(of: readonly T[], p = 0.5): T[] => {
    const chosen = of.filter(() => chance(p));
    return chosen.length === 0 ? [one(of)] : chosen;
  };
  return { chance, one, some };
}
type Choices = ReturnType<typeof createChoices>;

interface Scope {
  readonly repositories: string;
  readonly actions: readonly string[];
  readonly tags?: readonly string[];
}

/** `project`: undefined for any. */
function scopesOf({ chance, one, some }: Choices, project: string | undefined): Scope[] {
  const names = new Set(
    some([1, 2, 3]).map(() => {
      const within = project ?? one(PROJECTS);
      return project === undefined && chance(0.2) ? "**" : `${within}/${one(["app", "*", "**", "lib/*", "lib/a", "none"])}`;
    }),
  );
  return [...names].map((repositories) => {
    const actions = some(["pull", "push", "delete"]);
    const isTagged = chance(0.5) && actions.some((action) => action !== "pull");
    return { repositories, actions, ...(isTagged ? { tags: some(["dev-*", "v*", "v1"]) } : {}) };
  });
}

/** Tokens are not narrowed to tags. */
function withoutTags(scopes: readonly Scope[]): Scope[] {
  return scopes.map(({ repositories, actions }) => ({ repositories, actions }));
}

/** Somebody who asks: how it signs in, and how others ask about it. */
interface Who {
  readonly name: string;
  readonly header: string | undefined;
  readonly about: string;
  /** Lets nobody in. */
  readonly isOut: boolean;
}

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
  readonly body: Record<string, unknown>;
}

const basic = (name: string, secret: string): string => `Basic ${Buffer.from(`${name}:${secret}`).toString("base64")}`;

function createAsk(registry: TestRegistry) {
  return async (asked: string, options: { as?: string | undefined; body?: unknown; raw?: string } = {}): Promise<Answer> => {
    const [method = "", path = ""] = asked.split(" ");
    const { as, body, raw } = options;
    const isAnonymous = "as" in options && as === undefined;
    const answer = await registry.send(method, path.startsWith("/v2/") ? path : `/api/v1${path}`, {
      anonymous: isAnonymous,
      headers: {
        ...(as === undefined ? {} : { authorization: as }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(raw === undefined ? {} : { "content-type": OCI }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(raw === undefined ? {} : { body: raw }),
    });
    const text = await answer.text();
    const isJson = answer.headers.get("content-type")?.includes("json") === true;
    const read = (isJson && text !== "" ? JSON.parse(text) : {}) as Record<string, unknown>;
    return { status: answer.status, code: (read["errors"] as { code: string }[] | undefined)?.[0]?.code, body: read };
  };
}
type Ask = ReturnType<typeof createAsk>;

/** A world of one seed. */
async function makeWorld(registry: TestRegistry, ask: Ask, choices: Choices): Promise<{ who: Who[]; images: Map<string, PushedImage> }> {
  const { chance, one, some } = choices;
  const ok = async (asked: string, body?: unknown, as?: string): Promise<Record<string, unknown>> => {
    const answer = await ask(asked, { body, ...(as === undefined ? {} : { as }) });
    assert.ok(answer.status < 300, `${asked} ${JSON.stringify(body)}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  for (const project of PROJECTS) await ok("POST /projects", { name: project, visibility: chance(0.35) ? "public" : "private" });
  const images = new Map<string, PushedImage>();
  for (const repository of REPOSITORIES) images.set(repository, await registry.pushImage(repository, "first", 2000));
  const who: Who[] = [{ name: "nobody", header: undefined, about: "isAnonymous=true", isOut: false }];
  const groups = ["crew", "ops"];
  for (const name of groups) await ok("POST /groups", { name, ...(chance(0.15) ? { systemRole: one(["auditor", "creator"]) } : {}) });
  const users = ["ann", "bob", "cyd", "dan"];
  for (const name of users) {
    await ok("POST /users", {
      name,
      password: PASSWORD,
      ...(chance(0.25) ? { systemRole: one(["administrator", "auditor", "creator"]) } : {}),
    });
    for (const group of groups) if (chance(0.4)) await ok(`PUT /groups/${group}/members/${name}`);
  }
  const role = (project: string): unknown => {
    const scopes = chance(0.6) ? scopesOf(choices, project) : undefined;
    return scopes === undefined
      ? { role: one(["guest", "developer", "maintainer", "owner"]) }
      : { role: one(["guest", "developer", "maintainer"]), scopes };
  };
  for (const project of PROJECTS) {
    for (const name of users) if (chance(0.5)) await ok(`PUT /projects/${project}/members/${name}`, role(project));
    for (const group of groups) if (chance(0.4)) await ok(`PUT /projects/${project}/groups/${group}`, role(project));
  }
  for (const name of users) {
    const isOut = chance(0.15);
    if (chance(0.7)) {
      const token = await ok(
        "POST /users/me/tokens",
        { name: "ci", scopes: withoutTags(scopesOf(choices, undefined)), api: one(["none", "read", "write"]) },
        basic(name, PASSWORD),
      );
      who.push({
        name: `${name} by token`,
        header: basic(name, String(token["secret"])),
        about: `account=${name}&token=${String(token["id"])}`,
        isOut,
      });
    }
    if (isOut) await ok(`PATCH /users/${name}`, { isDisabled: true });
    who.push({ name, header: basic(name, PASSWORD), about: `account=${name}`, isOut });
  }
  const homes = [undefined, ...some(PROJECTS)];
  for (const home of homes) {
    const at = home === undefined ? "/robots" : `/projects/${home}/robots`;
    const made = await ok(`POST ${at}`, { name: "ci", scopes: scopesOf(choices, home) });
    const login = String(made["login"]);
    const isOut = chance(0.2);
    if (isOut) await ok(`PATCH ${at}/ci`, { isDisabled: true });
    who.push({ name: login, header: basic(login, String(made["secret"])), about: `account=${encodeURIComponent(login)}`, isOut });
  }
  return { who, images };
}

/** Whether an answer is a refusal of who asks, and not of what is asked. */
function isRefusal({ status, code }: Answer): boolean {
  return status === 401 || code === "DENIED" || code === "NAME_UNKNOWN" || code === "PROJECT_UNKNOWN";
}

/** What the API does for each permission of a project that can be tried without changing anything. */
const TRIED_IN_PROJECT: Readonly<Record<string, (project: string) => { asked: string; body?: unknown }>> = {
  "project.read": (project) => ({ asked: `GET /projects/${project}` }),
  "project.update": (project) => ({ asked: `PATCH /projects/${project}`, body: {} }),
  "members.read": (project) => ({ asked: `GET /projects/${project}/members` }),
  "members.write": (project) => ({ asked: `PUT /projects/${project}/members/nobody`, body: { role: "guest" } }),
  "robots.read": (project) => ({ asked: `GET /projects/${project}/robots` }),
  "robots.write": (project) => ({ asked: `PATCH /projects/${project}/robots/nobody`, body: {} }),
  "audit.read": (project) => ({ asked: `GET /projects/${project}/audit` }),
  "webhooks.read": (project) => ({ asked: `GET /projects/${project}/webhooks` }),
  "webhooks.write": (project) => ({ asked: `PATCH /projects/${project}/webhooks/nobody`, body: {} }),
};
const TRIED_IN_REGISTRY: Readonly<Record<string, { asked: string; body?: unknown }>> = {
  "users.read": { asked: "GET /users" },
  "groups.read": { asked: "GET /groups" },
  "jobs.read": { asked: "GET /jobs" },
  "audit.read": { asked: "GET /audit" },
  "robots.read": { asked: "GET /robots" },
  "settings.read": { asked: "GET /settings" },
  "usage.read": { asked: "GET /usage" },
  "uploads.read": { asked: "GET /uploads" },
  "webhooks.read": { asked: "GET /webhooks" },
  "projects.create": { asked: "POST /projects", body: { name: "alpha" } },
  administer: { asked: "PATCH /settings", body: {} },
};

for (const engine of ENGINES) {
  describe(`explanations on ${engine.name}`, { skip: engine.skip }, () => {
    for (const seed of SEEDS) {
      it(`say what is then done, in the world ${seed}`, async (t) => {
        const choices = createChoices(seed);
        const creation = choices.one(["administrators", "everyone"]);
        const registry = await startTestRegistry({ ...(await engine.make(t)).settings, "projects.creation": creation });
        t.after(() => registry.stop());
        const ask = createAsk(registry);
        const { who, images } = await makeWorld(registry, ask, choices);
        let made = 0;
        const fresh = (prefix: string): string => {
          made += 1;
          return `${prefix}${made}`;
        };
        const tally = { allowed: 0, refused: 0 };

        async function explained({ name, header, about, isOut }: Who, question: string): Promise<ExplanationView> {
          const answer = await ask(`GET /explain?${question}&${about}`);
          assert.equal(answer.status, 200, `${name} ${question}: ${JSON.stringify(answer.body)}`);
          const view = answer.body as unknown as ExplanationView;
          const what = `${name} ${question}: ${JSON.stringify(view, undefined, 1)}`;
          // The steps say the same as the answer.
          const does = (effect: string): boolean => view.reasons.some((each) => each.effect === effect);
          assert.equal(view.isAllowed, does("allows") && !does("refuses"), what);
          assert.equal(view.remedies.length === 0, view.isAllowed, what);
          if (!isOut && header !== undefined) {
            const own = await ask(`GET /explain?${question}`, { as: header });
            if (own.status === 200) assert.deepEqual([own.body["isAllowed"], own.body["onlyTags"]], [view.isAllowed, view.onlyTags], what);
            // By a token that opens none of the API not even that is told.
            else assert.deepEqual([own.code, name.endsWith("by token")], ["DENIED", true], what);
          }
          tally[view.isAllowed ? "allowed" : "refused"]++;
          return view;
        }
        function agree(view: ExplanationView, done: Answer, what: string): void {
          assert.equal(
            !isRefusal(done),
            view.isAllowed,
            `${what}: ${done.status} ${JSON.stringify(done.body)}; ${JSON.stringify(view, undefined, 1)}`,
          );
        }

        for (const each of who) {
          const as = each.header;
          for (const repository of [...REPOSITORIES, "delta/app"]) {
            const at = `repository=${encodeURIComponent(repository)}`;
            const what = `${each.name} ${repository}`;
            agree(await explained(each, `action=pull&${at}`), await ask(`GET /v2/${repository}/tags/list`, { as }), `${what} pull`);
            const begin = await explained(each, `action=push&${at}`);
            agree(begin, await ask(`POST /v2/${repository}/blobs/uploads/`, { as }), `${what} push`);
            const remove = await explained(each, `action=delete&${at}`);
            const removed = await ask(`DELETE /v2/${repository}/blobs/${ABSENT}`, { as });
            // A right that is narrowed to tags deletes no blobs.
            if (remove.onlyTags === null) agree(remove, removed, `${what} delete`);
            else assert.equal(removed.code, "DENIED", what);
            for (const name of [fresh("dev-"), fresh("v"), fresh("other-")]) {
              const { manifest } = images.get(repository) ?? images.get("alpha/app")!;
              const pushing = await explained(each, `action=push&${at}&tag=${name}`);
              agree(pushing, await ask(`PUT /v2/${repository}/manifests/${name}`, { as, raw: manifest }), `${what}:${name} push`);
              const deleting = await explained(each, `action=delete&${at}&tag=${name}`);
              agree(deleting, await ask(`DELETE /v2/${repository}/manifests/${name}`, { as }), `${what}:${name} delete`);
              const only = (view: ExplanationView, all: ExplanationView): void => {
                const fits = all.onlyTags?.some((pattern) => new RegExp(`^${pattern.replace("*", ".*")}$`).test(name)) ?? true;
                assert.equal(view.isAllowed, all.isAllowed && fits, `${what}:${name}`);
              };
              only(pushing, begin);
              only(deleting, remove);
            }
          }
          for (const project of ASKED_PROJECTS)
            for (const [action, tried] of Object.entries(TRIED_IN_PROJECT)) {
              const { asked, body } = tried(project);
              agree(
                await explained(each, `action=${action}&project=${project}`),
                await ask(asked, { as, body }),
                `${each.name} ${action} ${project}`,
              );
            }
          for (const [action, { asked, body }] of Object.entries(TRIED_IN_REGISTRY))
            agree(await explained(each, `action=${action}`), await ask(asked, { as, body }), `${each.name} ${action}`);
        }
        // A world in which all or nothing is allowed would show little.
        assert.ok(tally.allowed > 50 && tally.refused > 50, JSON.stringify(tally));
      });
    }
  });
}

/** What explanations of names of equal length say, with the names made the same. */
const blurred = ({ status, body }: Answer, name: string): string => `${status} ${JSON.stringify(body)}`.replaceAll(name, "<name>");

for (const engine of ENGINES) {
  describe(`what explanations tell on ${engine.name}`, { skip: engine.skip }, () => {
    it("strangers the same of what is hidden and of what is not there, and owners what concerns their project alone", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const ask = createAsk(registry);
      for (const name of ["alpha", "bravo"]) await ask("POST /projects", { body: { name } });
      for (const name of ["owner", "other", "guest"]) await ask("POST /users", { body: { name, password: PASSWORD } });
      await ask("PUT /projects/alpha/members/owner", { body: { role: "owner" } });
      await ask("PUT /projects/alpha/members/guest", { body: { role: "guest" } });
      const robot = async (at: string, name: string, repositories: string): Promise<void> => {
        await ask(`POST ${at}/robots`, { body: { name, scopes: [{ repositories, actions: ["pull"] }] } });
      };
      await robot("/projects/alpha", "ci", "alpha/**");
      await robot("/projects/bravo", "ci", "bravo/**");
      await robot("", "all", "**");
      await robot("", "bravo", "bravo/**");
      const as = (name: string) => ({ as: basic(name, PASSWORD) });
      const actions = ["pull", "push", "delete"].map((action) => (name: string) => `action=${action}&repository=${name}/app`);
      const questions = [
        ...actions,
        ...["project.read", "members.write"].map((action) => (name: string) => `action=${action}&project=${name}`),
      ];
      for (const question of questions) {
        const [hidden, none] = await Promise.all(
          ["bravo", "nonee"].map(async (name) => blurred(await ask(`GET /explain?${question(name)}`, as("other")), name)),
        );
        assert.match(hidden!, /^200 .*PROJECT_HIDDEN/);
        assert.equal(hidden, none);
        const about = await Promise.all(
          ["bravo", "nonee"].map(async (name) => blurred(await ask(`GET /explain?${question(name)}&account=guest`, as("other")), name)),
        );
        assert.match(about[0]!, /^404 .*PROJECT_UNKNOWN/);
        assert.equal(about[0], about[1]);
      }
      // Only owners are told about others, and nobody but administrators where no project is named.
      const of = async (who: string, about: string, question = "action=push&repository=alpha/app") =>
        ask(`GET /explain?${question}&account=${encodeURIComponent(about)}`, as(who));
      assert.equal((await of("guest", "owner")).code, "DENIED");
      assert.equal((await of("owner", "guest", "action=administer")).code, "DENIED");
      assert.deepEqual((await of("owner", "guest")).body["isAllowed"], false);
      assert.match(JSON.stringify((await of("owner", "guest")).body), /berth member set alpha guest --role developer/);
      assert.equal((await of("owner", "nobody")).code, "USER_UNKNOWN");
      assert.equal((await of("owner", "alpha+ci")).status, 200);
      assert.equal((await of("owner", "+all")).status, 200);
      // Robots that have nothing to do with the project are none.
      const unknown = blurred(await of("owner", "bravo+no"), "bravo+no");
      assert.match(unknown, /^404 .*ROBOT_UNKNOWN/);
      for (const name of ["bravo+ci", "+bravo"]) assert.equal(blurred(await of("owner", name), name), unknown, name);
      assert.equal((await ask("GET /explain?action=pull&repository=bravo/app&account=bravo%2Bci")).body["isAllowed"], true);
      const token = await ask("POST /users/me/tokens", {
        ...as("guest"),
        body: { name: "t", scopes: [{ repositories: "**", actions: ["pull"] }] },
      });
      const byToken = `account=guest&token=${String(token.body["id"])}`;
      assert.equal((await ask(`GET /explain?action=pull&repository=alpha/app&${byToken}`, as("owner"))).code, "DENIED");
      assert.equal(
        (await ask(`GET /explain?action=pull&repository=alpha/app&account=owner&token=${String(token.body["id"])}`)).code,
        "TOKEN_UNKNOWN",
      );
      assert.equal((await ask(`GET /explain?action=pull&repository=alpha/app&${byToken}`)).body["isAllowed"], true);
    });

    it("nothing where the question makes no sense", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const ask = createAsk(registry);
      for (const [question, code] of [
        ["", "FIELD_INVALID"],
        ["action=fly", "FIELD_INVALID"],
        ["action=pull", "FIELD_INVALID"],
        ["action=pull&repository=library", "NAME_INVALID"],
        ["action=pull&repository=Library/x", "NAME_INVALID"],
        ["action=pull&repository=library/x&tag=.x", "TAG_INVALID"],
        ["action=pull&repository=library/x&project=library", "FIELD_INVALID"],
        ["action=project.read", "FIELD_INVALID"],
        ["action=project.read&repository=library/x", "FIELD_INVALID"],
        ["action=users.read&project=library", "FIELD_INVALID"],
        ["action=project.read&project=library&tag=x", "FIELD_INVALID"],
        ["action=administer&isAnonymous=true&account=admin", "FIELD_INVALID"],
        ["action=administer&isAnonymous=true&token=1", "FIELD_INVALID"],
        ["action=administer&account=nobody", "USER_UNKNOWN"],
        ["action=administer&account=no%2Bbody", "ROBOT_UNKNOWN"],
        ["action=administer&token=1", "TOKEN_UNKNOWN"],
        ["action=administer&token=999999999999999", "TOKEN_UNKNOWN"],
      ]) {
        const answer = await ask(`GET /explain?${question}`);
        assert.equal(answer.code, code, `${question}: ${answer.status} ${JSON.stringify(answer.body)}`);
      }
    });
  });
}
