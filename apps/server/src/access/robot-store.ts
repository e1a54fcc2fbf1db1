// The robot_scope table. Not here: what patterns mean (robot-scopes.ts), the robots' accounts (account-store.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { Action } from "./caller.ts";
import { MAX_ROBOT_SCOPES, type RobotScope } from "./robot-scopes.ts";
import { ALL_ACTIONS } from "./roles.ts";
import { isTagPattern } from "./tag-patterns.ts";

const list = statement<{ accountId: number }>()(
  "robot_scope.list",
  (db, p) =>
    db
      .selectFrom("robot_scope")
      .select(["account_id", "repository_pattern", "actions"])
      .select(({ lit }) => lit(null).$castTo<string | null>().as("tags"))
      .where("account_id", "=", p.accountId)
      .unionAll(
        db
          .selectFrom("robot_tag_scope")
          .select(["account_id", "repository_pattern", "actions", "tags"])
          .where("account_id", "=", p.accountId) as never,
      )
      .orderBy("repository_pattern")
      .limit(2 * MAX_ROBOT_SCOPES),
  { bounded: "sorts the scopes of one robot" },
);
const listOfMany = statement<{ accountIds: number[] }>()(
  "robot_scope.list_of_many",
  (db, p, tools) =>
    db
      .selectFrom("robot_scope")
      .select(["account_id", "repository_pattern", "actions"])
      .select(({ lit }) => lit(null).$castTo<string | null>().as("tags"))
      .where(({ ref }) => tools.inList(ref("account_id"), p.accountIds, "bigint"))
      .unionAll(
        db
          .selectFrom("robot_tag_scope")
          .select(["account_id", "repository_pattern", "actions", "tags"])
          .where(({ ref }) => tools.inList(ref("account_id"), p.accountIds, "bigint")) as never,
      )
      .orderBy("account_id")
      .orderBy("repository_pattern"),
  { bounded: "sorts the scopes of a page of robots" },
);
const insert = statement<{ accountId: number; pattern: string; actions: string }>()("robot_scope.insert", (db, p) =>
  db.insertInto("robot_scope").values({ account_id: p.accountId, repository_pattern: p.pattern, actions: p.actions }),
);
const removeAll = statement<{ accountId: number }>()("robot_scope.delete", (db, p) =>
  db.deleteFrom("robot_scope").where("account_id", "=", p.accountId),
);
const insertTagged = statement<{ accountId: number; pattern: string; actions: string; tags: string }>()(
  "robot_scope.insert_tagged",
  (db, p) =>
    db.insertInto("robot_tag_scope").values({ account_id: p.accountId, repository_pattern: p.pattern, actions: p.actions, tags: p.tags }),
);
const removeTagged = statement<{ accountId: number }>()("robot_scope.delete_tagged", (db, p) =>
  db.deleteFrom("robot_tag_scope").where("account_id", "=", p.accountId),
);
function toScope(row: { repository_pattern: string; actions: string; tags: string | null }): RobotScope {
  const actions = row.actions.split(",").filter((action): action is Action => ALL_ACTIONS.has(action as Action));
  const tagPatterns = row.tags === null ? undefined : row.tags.split(",").filter(isTagPattern);
  return { repositoryPattern: row.repository_pattern, actions: new Set(actions), tagPatterns };
}

/** A robot's scopes. */
export async function listRobotScopes(executor: Executor, accountId: number): Promise<RobotScope[]> {
  return (await executor.all(list, { accountId })).map(toScope);
}

/** The scopes of a page of robots, by account. */
export async function listScopesOfRobots(executor: Executor, accountIds: number[]): Promise<Map<number, RobotScope[]>> {
  const byAccount = new Map<number, RobotScope[]>(accountIds.map((id) => [id, []]));
  for (const row of await executor.all(listOfMany, { accountIds })) byAccount.get(row.account_id)?.push(toScope(row));
  return byAccount;
}

/** Replaces a robot's scopes. */
export async function putRobotScopes(tx: Executor, accountId: number, scopes: readonly RobotScope[]): Promise<void> {
  await tx.run(removeAll, { accountId }, { any: "a new robot has none" });
  await tx.run(removeTagged, { accountId }, { any: "most have none" });
  for (const scope of scopes) {
    const actions = [...scope.actions].toSorted().join(",");
    const { repositoryPattern: pattern, tagPatterns: tags } = scope;
    if (tags === undefined) await tx.run(insert, { accountId, pattern, actions }, 1);
    else await tx.run(insertTagged, { accountId, pattern, actions, tags: tags.join(",") }, 1);
  }
}
