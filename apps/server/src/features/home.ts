// Whose something is, robots or webhooks: a project's or the registry's, from the proof that somebody may do something to it.
// Not here: robots by name (robot-home.ts), what is done to them.
import type { Actor } from "../access/actor.ts";
import type { AccountGrant, ProjectGrant } from "../access/authorize.ts";
import type { Renewable } from "../access/caller.ts";

/** That somebody may do something to what a project has, or the registry. */
export type HomeGrant = AccountGrant | ProjectGrant;

/** Whose it is: the registry's where there is no project. */
export interface Home extends Renewable<Home> {
  readonly projectId: number | undefined;
  readonly projectName: string | undefined;
  readonly actor: Actor;
}

/** Whose the things are that a grant is about. */
export function homeOf(grant: HomeGrant): Home {
  const { projectId, projectName } = "projectId" in grant ? grant : { projectId: undefined, projectName: undefined };
  return {
    projectId,
    projectName,
    actor: grant.actor,
    renew(tx) {
      const renewed: HomeGrant | Promise<HomeGrant> = grant.renew(tx);
      if (renewed === grant) return this;
      return renewed instanceof Promise ? renewed.then(homeOf) : homeOf(renewed);
    },
  };
}
