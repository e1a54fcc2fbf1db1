// From where a project or a robot may be used: reading and changing the lists. A change that would exclude whoever makes it is refused until he insists.
// Not here: routes (network-routes.ts), what the lists do (access/network-rules.ts).
import { ApiError } from "@berth/api/errors";
import type { NetworksView, PutNetworksBody } from "@berth/api/networks";
import { setAccountNetworks } from "../../access/account-store.ts";
import type { AccountChange } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { Actor } from "../../access/actor.ts";
import type { ProjectGrant } from "../../access/authorize.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { PROJECT_NETWORKS } from "../../access/network-rules.ts";
import { findProjectTraits, putProjectTrait } from "../../access/project-traits.ts";
import { robotLoginName } from "../../access/roles.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { createNetworkRules, type NetworkLists, readNetwork } from "../../platform/networks.ts";
import { type HomeGrant, homeOf } from "../home.ts";
import { createRightsChange } from "../rights-change.ts";
import { changedRobot, getRobot, lockRobot } from "../robot-home.ts";

/** What the rules need. */
export interface NetworksParts {
  readonly database: Database;
  readonly accounts: Accounts;
  readonly changes: ChangeSink<AccountChange>;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Networks {
  get(grant: ProjectGrant): Promise<NetworksView>;
  put(grant: ProjectGrant, body: PutNetworksBody): Promise<NetworksView>;
  delete(grant: ProjectGrant): Promise<void>;
  getOfRobot(grant: HomeGrant, name: string): Promise<NetworksView>;
  putOfRobot(grant: HomeGrant, name: string, body: PutNetworksBody): Promise<NetworksView>;
  deleteOfRobot(grant: HomeGrant, name: string): Promise<void>;
}

const EVERYWHERE: NetworkLists = { allow: [], deny: [] };

/** Creates the rules. */
export function createNetworks({ database, accounts, changes }: NetworksParts): Networks {
  const change = createRightsChange(database, accounts);

  async function listsOf(executor: Executor, projectId: number): Promise<NetworkLists> {
    return (await findProjectTraits(executor, accounts.readTraits, projectId))?.find(PROJECT_NETWORKS) ?? EVERYWHERE;
  }

  async function set(grant: ProjectGrant, lists: NetworkLists): Promise<void> {
    await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
      const before = view(await listsOf(tx, projectId));
      await putProjectTrait(tx, projectId, PROJECT_NETWORKS, isEmpty(lists) ? undefined : view(lists));
      await changes.record(tx, actor, [{ kind: "project.networks-changed", project: projectName, projectId, before, ...view(lists) }]);
    });
  }

  async function setOfRobot(grant: HomeGrant, name: string, lists: NetworkLists): Promise<void> {
    const home = homeOf(grant);
    await change(home, { account: robotLoginName(home.projectName, name) }, async (tx, { actor }) => {
      const robot = await lockRobot(tx, home, name);
      const before = view(robot.networks ?? EVERYWHERE);
      await setAccountNetworks(tx, robot.id, isEmpty(lists) ? undefined : lists);
      await changes.record(tx, actor, [{ kind: "robot.networks-changed", ...changedRobot(home, robot), before, ...view(lists) }]);
    });
  }

  return {
    get: async ({ projectId }) => view(await listsOf(database, projectId)),
    async put(grant, { force = false, ...body }) {
      const lists = readLists(body);
      if (!force) refuseOwnExclusion(grant.actor, lists);
      await set(grant, lists);
      return view(lists);
    },
    delete: (grant) => set(grant, EVERYWHERE),
    getOfRobot: async (grant, name) => view((await getRobot(database, homeOf(grant), name)).networks ?? EVERYWHERE),
    // Whoever keeps a robot is somewhere else than it.
    async putOfRobot(grant, name, { force: _, ...body }) {
      const lists = readLists(body);
      await setOfRobot(grant, name, lists);
      return view(lists);
    },
    deleteOfRobot: (grant, name) => setOfRobot(grant, name, EVERYWHERE),
  };
}

const view = ({ allow, deny }: NetworkLists): NetworksView => ({ allow: [...allow], deny: [...deny] });
const isEmpty = ({ allow, deny }: NetworkLists): boolean => allow.length === 0 && deny.length === 0;

/** The lists of a body in their one form, each entry once. Errors: FIELD_INVALID. */
function readLists(body: Omit<PutNetworksBody, "force">): NetworkLists {
  if (body.allow === undefined && body.deny === undefined)
    throw new ApiError("FIELD_INVALID", {
      detail: [{ field: "body.allow", reason: "is missing, and body.deny as well: give one of them" }],
    });
  const read = (name: "allow" | "deny"): readonly string[] => {
    const found = (body[name] ?? []).map((text, i) => {
      const entry = readNetwork(text);
      if (entry.problem !== undefined)
        throw new ApiError("FIELD_INVALID", { detail: [{ field: `body.${name}.${i}`, reason: entry.problem }] });
      return entry.network;
    });
    return [...new Set(found)];
  };
  return { allow: read("allow"), deny: read("deny") };
}

/** Errors: NETWORKS_EXCLUDE_CALLER. */
function refuseOwnExclusion({ origin }: Actor, lists: NetworkLists): void {
  const address = origin?.address ?? "";
  if (createNetworkRules(lists)?.permits(address) === false) throw new ApiError("NETWORKS_EXCLUDE_CALLER", { detail: { address } });
}
