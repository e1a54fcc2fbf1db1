// The robot_scope table. Not here: what patterns mean (robot-scopes.ts), the robots' accounts (account-store.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { Action } from "./caller.ts";
import { MAX_ROBOT_SCOPES, type RobotScope } from "./robot-scopes.ts";
import { ALL_ACTIONS } from "./roles.ts";

const list = statement<{ accountId: number }>()("robot_scope.list", (db, p) =>
  db
    .selectFrom("robot_scope")
    .select(["repository_pattern", "actions"])
    .where("account_id", "=", p.accountId)
    .orderBy("repository_pattern")
    .limit(MAX_ROBOT_SCOPES),
);
const listOfMany = statement<{ accountIds: number[] }>()("robot_scope.list_of_many", (db, p, tools) =>
  db
    .selectFrom("robot_scope")
    .select(["account_id", "repository_pattern", "actions"])
    .where(({ ref }) => tools.inList(ref("account_id"), p.accountIds, "bigint"))
    .orderBy("account_id")
    .orderBy("repository_pattern"),
);
const insert = statement<{ accountId: number; pattern: string; actions: string }>()("robot_scope.insert", (db, p) =>
  db.insertInto("robot_scope").values({ account_id: p.accountId, repository_pattern: p.pattern, actions: p.actions }),
);
const removeAll = statement<{ accountId: number }>()("robot_scope.delete", (db, p) =>
  db.deleteFrom("robot_scope").where("account_id", "=", p.accountId),
);
function toScope(row: { repository_pattern: string; actions: string }): RobotScope {
  const actions = row.actions.split(",").filter((action): action is Action => ALL_ACTIONS.has(action as Action));
  return { repositoryPattern: row.repository_pattern, actions: new Set(actions) };
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
  for (const scope of scopes) {
    const actions = [...scope.actions].toSorted().join(",");
    await tx.run(insert, { accountId, pattern: scope.repositoryPattern, actions }, 1);
  }
}
