// A request for a list examines a bounded number of projects and names, however many there are that the reader may not see or that are
// empty; and pages that end early lead to everything once. Not here: the same for every kind of reader (distribution/catalog.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
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
import { NOBODY_WANTS } from "../../content/content.testing.ts";
import { createManifests } from "../../content/manifests.ts";
import { createReferrers } from "../../content/referrers.ts";
import { createRepositories } from "../../content/repositories.ts";
import { createTags } from "../../content/tags.ts";
import { createListPlaces } from "../../distribution/list-places.ts";
import { createLists, type Lists } from "../../distribution/lists.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { statement } from "../../platform/database/statement.ts";
import { createProjectRepositories } from "./repositories.ts";

/** More than one request looks up. */
const EMPTY_PROJECTS = 2300;
/** More than one request reads. */
const HIDDEN_NAMES = 45_000;
/** What one request may look up, and what it asks besides: who the reader is, and a hundred projects at a time with three statements. */
const MOST_STATEMENTS = 1000 + 40;
/** What one request may read, and projects a hundred at a time besides. */
const MOST_ROWS = 20_000 + MOST_STATEMENTS;

const insertRepositories = statement<{ names: string[]; projectId: number }>()("test.insert_repositories", (db, p, tools) =>
  db
    .insertInto("repository")
    .columns(["name", "project_id", "created_at"])
    .expression(
      db
        .selectFrom(tools.rows(p.names, "text").as("named"))
        .crossJoin("project")
        .select(["named.value", "project.id", "project.created_at"])
        .where("project.id", "=", p.projectId),
    ),
);

interface Page {
  readonly items: readonly string[];
  readonly next: string | undefined | null;
}

forEachDatabase("what a list examines", (create) => {
  let test: TestDatabase;
  let lists: Lists;
  let listOfProject: (caller: Caller, from: string) => Promise<Page>;
  let member: Caller;
  let robot: Caller;
  // Since the last request began.
  let statements = 0;
  let rowsRead = 0;

  async function addRepositories(projectId: number, names: readonly string[]): Promise<void> {
    for (let at = 0; at < names.length; at += 5000) {
      const some = names.slice(at, at + 5000);
      await test.database.transaction((tx) => tx.run(insertRepositories, { projectId, names: some }, some.length));
    }
  }

  before(async () => {
    test = await create();
    const clock = createTestClock();
    const counted: Database = {
      ...test.database,
      async all(...args) {
        statements++;
        const rows = await test.database.all(...args);
        rowsRead += rows.length;
        return rows;
      },
    };
    const { authorizer } = createTestAccess(counted, clock);
    const repositories = createRepositories(counted, clock, NOBODY_WANTS);
    const places = createListPlaces(TEST_MASTER_KEY);
    lists = createLists({
      authorizer,
      repositories,
      manifests: createManifests(counted, clock, { leaseMs: 1, graceMs: 1 }, { changes: NOBODY_WANTS }),
      tags: createTags(counted, clock, NOBODY_WANTS),
      referrers: createReferrers(counted),
      places,
    });
    const ofProject = createProjectRepositories({ database: counted, authorizer, repositories, places });
    listOfProject = async (caller, from) => {
      const { items, next } = await ofProject.list(caller, await authorizer.authorizeProject(caller, "project.read", "deep"), {
        after: from,
        limit: 200,
      });
      return { items: items.map(({ name }) => name), next };
    };

    const own = await Promise.all(Array.from({ length: EMPTY_PROJECTS }, (_, i) => addProject(test.database, `empty${i}`)));
    const last = await addProject(test.database, "last");
    await addRepositories(last, ["last/app", "last/web"]);
    const roles = new Map([...own, last].map((id) => [id, "guest" as const]));
    member = await callerOf(test.database, await addUser(test.database, "member", { roles, secretHash: "unused" }));

    const deep = await addProject(test.database, "deep");
    const hidden = Array.from({ length: HIDDEN_NAMES }, (_, i) => `deep/n${String(i).padStart(6, "0")}/x`);
    await addRepositories(deep, ["deep/a", ...hidden, "deep/n020000", "deep/z"]);
    robot = await callerOf(test.database, (await addRobot(test.database, "deep+robot", deep, { "deep/*": ["pull"] })).id);
  });
  after(() => test.end());

  async function everyPage(list: (from: string) => Promise<Page>): Promise<{ readonly seen: string[]; readonly pages: number }> {
    const seen: string[] = [];
    let pages = 0;
    let from: string | undefined | null = "";
    while (typeof from === "string") {
      statements = 0;
      rowsRead = 0;
      const page: Page = await list(from);
      assert.ok(statements > 0 && statements <= MOST_STATEMENTS, `${statements} statements`);
      assert.ok(rowsRead <= MOST_ROWS, `${rowsRead} rows`);
      seen.push(...page.items);
      from = page.next;
      assert.ok(++pages < 100, "the pages do not end");
    }
    return { seen, pages };
  }

  it("is a bounded number of empty projects", async () => {
    const { seen, pages } = await everyPage((from) => lists.catalog(member, from, 100));
    assert.deepEqual(seen, ["last/app", "last/web"]);
    assert.ok(pages >= 3, `${pages} pages`);
  });

  it("is a bounded number of names that a robot may not see, whatever the page", async () => {
    for (const limit of [1, 100, 10_000]) {
      const { seen, pages } = await everyPage((from) => lists.catalog(robot, from, limit));
      assert.deepEqual(seen, ["deep/a", "deep/n020000", "deep/z"]);
      assert.ok(pages >= 3, `${pages} pages`);
    }
  });

  it("is the same in a project's list", async () => {
    const { seen, pages } = await everyPage((from) => listOfProject(robot, from));
    assert.deepEqual(seen, ["deep/a", "deep/n020000", "deep/z"]);
    assert.ok(pages >= 3, `${pages} pages`);
    await assert.rejects(listOfProject(robot, "~x"), { code: "PAGE_INVALID" });
  });
});
