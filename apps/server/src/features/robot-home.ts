// The robot of a name in a project or in the registry. Not here: whose it is (home.ts), what is done to it (robots/robots.ts, trust/trust.ts).
import { ApiError } from "@berth/api/errors";
import { findAccountByName, lockAccount, type Account } from "../access/account-store.ts";
import { robotLoginName } from "../access/roles.ts";
import type { Executor } from "../platform/database/database.ts";
import type { Home } from "./home.ts";

/** The robot of this name. Errors: ROBOT_UNKNOWN. */
export async function getRobot(executor: Executor, home: Home, name: string): Promise<Account> {
  const account = await findAccountByName(executor, robotLoginName(home.projectName, name));
  if (account === undefined || account.kind !== "robot" || account.projectId !== home.projectId) throw new ApiError("ROBOT_UNKNOWN");
  return account;
}

/** The same, locked until the transaction's end. */
export async function lockRobot(tx: Executor, home: Home, name: string): Promise<Account> {
  const account = await lockAccount(tx, (await getRobot(tx, home, name)).id);
  if (account === undefined) throw new ApiError("ROBOT_UNKNOWN");
  return account;
}

/** A robot as changes say it. */
export function changedRobot({ projectId, projectName }: Home, { id, name }: Account) {
  return { account: name, accountId: id, project: projectName ?? null, projectId: projectId ?? null };
}
