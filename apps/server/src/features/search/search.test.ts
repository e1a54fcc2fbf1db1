// Search: what is found by which text, page by page and with hardly any effort a page, and nothing of what the caller may not read. Not here: the
// operation over HTTP (test/flows/search.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import type { FoundView, SearchKind } from "@berth/api/search";
import {
  addProject,
  addRobot,
  addUser,
  callerOf,
  createTestAccess,
  createTestClock,
  TEST_MASTER_KEY,
} from "../../access/access.testing.ts";
import type { Caller } from "../../access/caller.ts";
import { NO_SIGN_IN } from "../../access/sign-in.ts";
import { NOBODY_WANTS } from "../../content/content.testing.ts";
import { createRepositories } from "../../content/repositories.ts";
import { createListPlaces } from "../../distribution/list-places.ts";
import { type Effort, effortOfRequest } from "../../distribution/readable-names.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { statement } from "../../platform/database/statement.ts";
import { createSearch, type Search } from "./search.ts";

const insertRepository = statement<{ name: string; projectId: number }>()("test.search_repository", (db, p) =>
  db.insertInto("repository").values({ name: p.name, project_id: p.projectId, created_at: 1 }).returning("id"),
);
const insertManifest = statement<{ repositoryId: number; digest: string; bytes: Uint8Array }>()("test.search_manifest", (db, p) =>
  db
    .insertInto("manifest")
    .values({ repository_id: p.repositoryId, digest: p.digest, media_type: "x", size_bytes: 2, created_at: 1, bytes: p.bytes })
    .returning("id"),
);
const insertTag = statement<{ repositoryId: number; name: string; manifestId: number }>()("test.search_tag", (db, p) =>
  db
    .insertInto("tag")
    .values({ repository_id: p.repositoryId, name: p.name, manifest_id: p.manifestId, updated_at: 1, version_key: "" })
    .returning("name"),
);

const digestOf = (start: string, n: number): string => `sha256:${(start + n.toString(16)).padEnd(64, "0")}`;
const textOf = ({ kind, project, repository, tag, digest }: FoundView): string =>
  kind === "project"
    ? `p ${project}`
    : kind === "repository"
      ? `r ${repository}`
      : kind === "tag"
        ? `t ${repository}:${tag}`
        : `d ${repository}@${digest}`;

forEachDatabase("search", (create) => {
  let test: TestDatabase;
  let effort: () => Effort = effortOfRequest;
  let search: Search;
  const callers = new Map<string, Caller>();

  before(async () => {
    test = await create();
    const { database } = test;
    const clock = createTestClock();
    const { authorizer } = createTestAccess(database, clock);
    search = createSearch({
      database,
      authorizer,
      repositories: createRepositories(database, clock, NOBODY_WANTS),
      places: createListPlaces(TEST_MASTER_KEY),
      newSearchEffort: () => effort(),
    });
    const ids = new Map<string, number>();
    for (const [name, isPublic] of [
      ["shop", false],
      ["web-tools", true],
      ["secret-web", false],
      ["zebra", false],
    ] as const)
      ids.set(name, await addProject(database, name, isPublic));
    const repositories = ["shop/web", "shop/api", "shop/lib/web-core", "web-tools/lint", "secret-web/web", "secret-web/api"];
    for (const [n, name] of repositories.entries()) {
      await database.transaction(async (tx) => {
        const repositoryId = (await tx.first(insertRepository, { name, projectId: ids.get(name.split("/")[0]!)! }))!.id;
        for (let i = 0; i < 3; i++) {
          const manifestId = (await tx.first(insertManifest, {
            repositoryId,
            digest: digestOf(`abcdef${n}`, i),
            bytes: Buffer.from("{}"),
          }))!.id;
          for (const tag of [`v1.${i}`, `V1.${i}`, `webby-${i}`]) await tx.first(insertTag, { repositoryId, name: tag, manifestId });
        }
      });
    }
    callers.set("admin", await callerOf(database, await addUser(database, "root", { isAdmin: true, secretHash: "x" })));
    callers.set(
      "member",
      await callerOf(database, await addUser(database, "ann", { roles: new Map([[ids.get("shop")!, "guest"]]), secretHash: "x" })),
    );
    callers.set("robot", await callerOf(database, (await addRobot(database, "shop+ci", ids.get("shop"), { "shop/*": ["pull"] })).id));
    callers.set("anonymous", { kind: "anonymous", via: NO_SIGN_IN, access: undefined });
  });
  after(() => test.end());

  async function all(who: string, text: string, kind?: SearchKind, limit = 50): Promise<string[]> {
    const found: string[] = [];
    let from: string | null = "";
    for (let pages = 0; from !== null; pages++) {
      assert.ok(pages < 300, "the pages do not end");
      const page: Awaited<ReturnType<Search>> = await search(callers.get(who)!, {
        text,
        limit,
        ...(kind === undefined ? {} : { kind }),
        ...(from === "" ? {} : { after: from }),
      });
      assert.ok(page.items.length <= limit);
      found.push(...page.items.map(textOf));
      from = page.next;
    }
    return found;
  }
  const tags = (repository: string, ...names: string[]): string[] => names.map((name) => `t ${repository}:${name}`);

  it("finds names that hold a text, and tags and digests that begin with it, of what the caller may read", async () => {
    const webby = (repository: string): string[] => tags(repository, "webby-0", "webby-1", "webby-2");
    const own = ["p web-tools", "r shop/lib/web-core", "r shop/web", "r web-tools/lint"];
    assert.deepEqual(await all("member", "web"), [
      ...own,
      ...["shop/api", "shop/lib/web-core", "shop/web", "web-tools/lint"].flatMap(webby),
    ]);
    assert.deepEqual(await all("anonymous", "web"), ["p web-tools", "r web-tools/lint", ...webby("web-tools/lint")]);
    assert.deepEqual(await all("robot", "web", "repository"), ["r shop/web", "r web-tools/lint"]);
    assert.deepEqual(await all("admin", "web", "project"), ["p secret-web", "p web-tools"]);
    assert.deepEqual(await all("member", "secret"), []);
    assert.deepEqual(await all("member", "shop/web"), ["r shop/web"]);
    assert.deepEqual(await all("member", "SHOP", "repository"), ["r shop/api", "r shop/lib/web-core", "r shop/web"]);
    // Tags in their case.
    assert.deepEqual(
      await all("robot", "v1.1", "tag"),
      tags("shop/api", "v1.1").concat(tags("shop/web", "v1.1"), tags("web-tools/lint", "v1.1")),
    );
    assert.deepEqual(
      await all("robot", "V1.2", "tag"),
      tags("shop/api", "V1.2").concat(tags("shop/web", "V1.2"), tags("web-tools/lint", "V1.2")),
    );
    assert.deepEqual(await all("member", "%", "tag"), []);
    const digests = [0, 1, 2].map((i) => `d shop/web@${digestOf("abcdef0", i)}`);
    for (const text of ["abcdef0", "ABCDEF0", "sha256:abcdef0"]) assert.deepEqual(await all("member", text), digests, text);
    assert.deepEqual(await all("member", digestOf("abcdef0", 1)), [digests[1]]);
    assert.deepEqual(await all("member", digestOf("abcdef4", 1)), [], "hidden");
    assert.deepEqual(await all("admin", digestOf("abcdef4", 1)), [`d secret-web/web@${digestOf("abcdef4", 1)}`]);
  });

  it("gives the same page by page, and with hardly any effort a page", async () => {
    for (const who of callers.keys())
      for (const text of ["web", "v1", "abcdef", "shop", "e"]) {
        effort = effortOfRequest;
        const whole = await all(who, text);
        for (const limit of [1, 2, 3, 7]) assert.deepEqual(await all(who, text, undefined, limit), whole, `${who} ${text} ${limit}`);
        for (const spent of [1, 2, 5]) {
          effort = () => ({ lookUps: spent, names: 1 });
          assert.deepEqual(await all(who, text, undefined, 3), whole, `${who} ${text} by ${spent}`);
        }
      }
    effort = effortOfRequest;
  });

  it("goes on only behind a place that it gave, and tells nothing by one that is made up", async () => {
    const at = (after: string): ReturnType<Search> => search(callers.get("member")!, { text: "v1", after });
    for (const after of [
      "x",
      "tag",
      "tag ",
      "flag shop/web",
      "tag shop/web v1 x",
      "tag shop v1",
      "tag Shop/web v1",
      "tag ~x",
      "tag ~x y",
      "tag a\0/b v",
    ])
      await assert.rejects(at(after), { code: "PAGE_INVALID" }, after);
    const hidden = await at("tag secret-web/web v1.0");
    const none = await at("tag secret-wex/web v1.0");
    assert.deepEqual(hidden, none);
  });
});
