// Whose robots: a project's or the registry's, from the proof that somebody may do something to them; and the robot of a name there.
// Not here: what is done to them (robots/robots.ts, trust/trust.ts).
import { ApiError } from "@berth/api/errors";
import { findAccountByName, lockAccount, type Account } from "../access/account-store.ts";
import type { Actor } from "../access/actor.ts";
import type { AccountGrant, ProjectGrant } from "../access/authorize.ts";
import type { Renewable } from "../access/caller.ts";
import { robotLoginName } from "../access/roles.ts";
import type { Executor } from "../platform/database/database.ts";

/** That somebody may do something to a project's robots, or to the registry's. */
export type RobotsGrant = AccountGrant | ProjectGrant;

/** Whose robots. */
export interface RobotHome extends Renewable<RobotHome> {
  readonly projectId: number | undefined;
  readonly projectName: string | undefined;
  readonly actor: Actor;
}

/** Whose robots a grant is about. */
export function homeOf(grant: RobotsGrant): RobotHome {
  const { projectId, projectName } = "projectId" in grant ? grant : { projectId: undefined, projectName: undefined };
  return {
    projectId,
    projectName,
    actor: grant.actor,
    renew(tx) {
      const renewed: RobotsGrant | Promise<RobotsGrant> = grant.renew(tx);
      if (renewed === grant) return this;
      return renewed instanceof Promise ? renewed.then(homeOf) : homeOf(renewed);
    },
  };
}

/** The robot of this name. Errors: ROBOT_UNKNOWN. */
export async function getRobot(executor: Executor, home: RobotHome, name: string): Promise<Account> {
  const account = await findAccountByName(executor, robotLoginName(home.projectName, name));
  if (account === undefined || account.kind !== "robot" || account.projectId !== home.projectId) throw new ApiError("ROBOT_UNKNOWN");
  return account;
}

/** The same, locked until the transaction's end. */
export async function lockRobot(tx: Executor, home: RobotHome, name: string): Promise<Account> {
  const account = await lockAccount(tx, (await getRobot(tx, home, name)).id);
  if (account === undefined) throw new ApiError("ROBOT_UNKNOWN");
  return account;
}

/** A robot as changes say it. */
export function changedRobot({ projectId, projectName }: RobotHome, { id, name }: Account) {
  return { account: name, accountId: id, project: projectName ?? null, projectId: projectId ?? null };
}
