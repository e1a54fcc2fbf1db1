// The catalog compared with reading every name and checking each: pages of every size, readers of every kind. Not here: challenges and
// tokens (test/flows/catalog.test.ts), time at a million (npm run bench -- --scale).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { parseRepositoryName, projectOf } from "@berth/oci/reference";
import { addProject, addRobot, addUser, callerOf, createTestAccess, createTestClock, TEST_MASTER_KEY } from "../access/access.testing.ts";
import { actorOf } from "../access/actor.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { Action, Caller, Grant } from "../access/caller.ts";
import { NOBODY_WANTS } from "../content/content.testing.ts";
import { createManifests } from "../content/manifests.ts";
import { createReferrers } from "../content/referrers.ts";
import { createRepositories } from "../content/repositories.ts";
import { createTags } from "../content/tags.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createListPlaces } from "./list-places.ts";
import { createLists, type ListPage, type ListParts, type Lists } from "./lists.ts";
import { NO_SIGN_IN } from "../access/sign-in.ts";

const PROJECTS: Readonly<Record<string, { isPublic: boolean }>> = {
  a: { isPublic: false },
  "a-b": { isPublic: true },
  "a.b": { isPublic: false },
  a0: { isPublic: false },
  empty: { isPublic: true },
  z: { isPublic: false },
};
const PATHS = ["app", "app-1", "app/deep", "app/deep/er", "app0", "b", "b/c", "b.c", "n1", "n2", "n3"];
const NAMES = Object.keys(PROJECTS)
  .filter((project) => project !== "empty")
  .flatMap((project) => PATHS.map((path) => parseRepositoryName(`${project}/${path}`)))
  // ASCII: JavaScript's order is the database's.
  .toSorted();

forEachDatabase("catalog", (create) => {
  let test: TestDatabase;
  let lists: Lists;
  let authorizer: Authorizer;
  const callers = new Map<string, Caller>();
  /** Lists that end their pages early, by how early. */
  const hasty = new Map<string, Lists>();

  before(async () => {
    test = await create();
    const { database } = test;
    const clock = createTestClock();
    ({ authorizer } = createTestAccess(database, clock));
    const ids = new Map<string, number>();
    for (const [name, { isPublic }] of Object.entries(PROJECTS)) ids.set(name, await addProject(database, name, isPublic));
    const repositories = createRepositories(database, clock, NOBODY_WANTS);
    for (const repository of NAMES.toReversed()) {
      const grant = {
        repository,
        projectId: ids.get(projectOf(repository)),
        actor: actorOf(undefined, undefined),
        action: "push",
        renew: () => grant,
      } as Grant<"push">;
      await repositories.ensure(grant);
    }
    const times = { leaseMs: 1, graceMs: 1 };
    const parts: ListParts = {
      authorizer,
      repositories,
      manifests: createManifests(database, clock, times, { changes: NOBODY_WANTS }),
      tags: createTags(database, clock, NOBODY_WANTS),
      referrers: createReferrers(database),
      places: createListPlaces(TEST_MASTER_KEY),
    };
    lists = createLists(parts);
    for (const [lookUps, names] of [
      [1, 1],
      [1, 100],
      [2, 3],
      [5, 2],
      [100, 7],
    ] as const) {
      hasty.set(`${lookUps} look-ups and ${names} names a request`, createLists({ ...parts, newEffort: () => ({ lookUps, names }) }));
    }

    const secretHash = "unused";
    const user = async (name: string, options: Parameters<typeof addUser>[2]): Promise<void> => {
      callers.set(name, await callerOf(database, await addUser(database, name, { ...options, secretHash })));
    };
    await user("administrator", { isAdmin: true });
    await user("member", { roles: new Map([ids.get("a")!, ids.get("z")!].map((id) => [id, "guest"])) });
    await user("stranger", {});
    // `namesCatalog`: a token for the catalog, as anonymous clients must have one.
    callers.set("anonymous", { kind: "anonymous", via: NO_SIGN_IN, access: new Map(), namesCatalog: true });
    const robots: [string, string | undefined, Record<string, Action[]>][] = [
      ["robot of names", "a", { "a/n1": ["pull"], "a/n3": ["pull"], "a/absent": ["pull"], "a/b": ["push"] }],
      ["robot of a folder", "a", { "a/app/*": ["pull"] }],
      ["robot of all below", "z", { "z/app/**": ["pull"], "z/app/deep": ["pull"], "z/b": ["pull"] }],
      ["robot of its project", "a", { "a/**": ["pull"] }],
      ["robot beyond its project", "a", { "z/**": ["pull"], "a/n2": ["pull"] }],
      ["robot of many projects", undefined, { "a/n2": ["pull"], "a.b/*": ["pull"], "z/app/**": ["pull"], "a-b/app": ["pull"] }],
      ["robot of everything", undefined, { "**": ["pull"] }],
      ["robot that only pushes", undefined, { "**": ["push"] }],
    ];
    for (const [name, project, scopes] of robots) {
      const { id } = await addRobot(
        database,
        `${project ?? ""}+${name.replaceAll(" ", "-")}`,
        project === undefined ? undefined : ids.get(project),
        scopes,
      );
      callers.set(name, await callerOf(database, id));
    }
  });
  after(() => test.end());

  async function namesFor(caller: Caller): Promise<string[]> {
    const expected: string[] = [];
    for (const name of NAMES) {
      // A token for the catalog names no repository: it lists what the account may pull.
      const asked = { ...caller, access: undefined } as Caller;
      if ((await authorizer.allowed(asked, name)).has("pull")) expected.push(name);
    }
    return expected;
  }

  it("gives every reader, page by page, exactly what it may pull", async () => {
    for (const [who, caller] of callers) {
      const expected = await namesFor(caller);
      for (const limit of [1, 2, 3, 7, 100]) {
        const seen: string[] = [];
        let last: string | undefined = "";
        while (last !== undefined) {
          const page = await lists.catalog(caller, last, limit);
          assert.ok(page.items.length <= limit);
          seen.push(...page.items);
          last = page.next;
        }
        assert.deepEqual(seen, expected, `${who} by ${limit}`);
      }
      // Also from a place that is no name.
      for (const last of ["a", "a-", "a/", "a/app/", "a/n2", "a/n2x", "m", "z/app/deep"]) {
        const { items } = await lists.catalog(caller, last, 100);
        assert.deepEqual(
          items,
          expected.filter((name) => name > last),
          `${who} after ${last}`,
        );
      }
    }
  });

  it("gives the same where pages end by what was examined, and gives away no name that the reader may not see", async () => {
    for (const [who, caller] of callers) {
      const expected = await namesFor(caller);
      for (const [how, hurried] of hasty) {
        const seen: string[] = [];
        let early = 0;
        let last: string | undefined = "";
        while (last !== undefined) {
          const page: ListPage<string> = await hurried.catalog(caller, last, 3);
          seen.push(...page.items);
          last = page.next;
          if (last !== undefined && last !== seen.at(-1)) early++;
          if (last !== undefined) assert.ok(last === page.items.at(-1) || /^~v1\.[\w-]{390}$/.test(last), last);
          assert.ok(early < 1000, "the pages do not end");
        }
        assert.deepEqual(seen, expected, `${who} by ${how}`);
        if (who === "member" && how.startsWith("1 ")) assert.ok(early > 0);
      }
    }
  });

  it("refuses a place that it did not make", async () => {
    for (const last of ["~", "~v1.", "~v1.AAAA", `~v1.${"A".repeat(400)}`]) {
      await assert.rejects(lists.catalog(callers.get("member")!, last, 1), { code: "PAGE_INVALID" });
    }
  });
});
