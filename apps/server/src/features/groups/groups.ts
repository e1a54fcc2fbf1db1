// Groups of users: what administrators do to them, and their roles in projects. A project keeps an owner, who may be a group that has members.
// Not here: routes (group-routes.ts), rows (access/group-store.ts), what providers say (access/group-memberships.ts).
import { ldapGroupKey } from "@berth/api/distinguished-name";
import { ApiError } from "@berth/api/errors";
import type { GroupMemberView, GroupUpdateBody, GroupView, NewGroupBody, ProjectGroupView } from "@berth/api/groups";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import { type AccountChange, changedScopes } from "../../access/account-changes.ts";
import { type Account, findAccountByName } from "../../access/account-store.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { AccountGrant, ProjectGrant } from "../../access/authorize.ts";
import type { ChangeSink } from "../../access/changes.ts";
import * as store from "../../access/group-store.ts";
import { hasOtherOwner, lockProject } from "../../access/member-store.ts";
import type { Role } from "../../access/roles.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";
import { parseMemberScopes, viewScopes } from "../../access/scope-views.ts";

/** What the rules need. */
export interface GroupsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly changes: ChangeSink<AccountChange>;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Groups {
  list(page: PageRequest): Promise<Listed<GroupView>>;
  create(grant: AccountGrant, group: NewGroupBody): Promise<GroupView>;
  get(name: string): Promise<GroupView>;
  update(grant: AccountGrant, name: string, change: GroupUpdateBody): Promise<GroupView>;
  delete(grant: AccountGrant, name: string): Promise<void>;
  listMembers(name: string, page: PageRequest): Promise<Listed<GroupMemberView>>;
  addMember(grant: AccountGrant, name: string, user: string): Promise<GroupMemberView>;
  removeMember(grant: AccountGrant, name: string, user: string): Promise<void>;
  listOfProject(grant: ProjectGrant, page: PageRequest): Promise<Listed<ProjectGroupView>>;
  putInProject(grant: ProjectGrant, name: string, body: Omit<ProjectGroupView, "group">): Promise<ProjectGroupView>;
  removeFromProject(grant: ProjectGrant, name: string): Promise<void>;
}

/** How many projects a refusal names. */
const MAX_NAMED_PROJECTS = 10;
/** Providers that say of one user that he is in a group, and one more. */
const MAX_SOURCES = 50;
/** Whatever it was: a group's change changes what each of its members may. */
const EVERYBODY = {};

/** Makes the rules. */
export function createGroups({ database, clock, accounts, changes }: GroupsParts): Groups {
  const change = createRightsChange(database, accounts);

  async function getUser(executor: Executor, name: string): Promise<Account> {
    const user = await findAccountByName(executor, name);
    if (user === undefined || user.kind !== "user") throw new ApiError("USER_UNKNOWN");
    return user;
  }

  /** Projects are locked before groups, always in this order. */
  async function lockProjectAndGroup(tx: Executor, projectId: number, name: string): Promise<store.Group> {
    if (!(await lockProject(tx, projectId))) throw new ApiError("PROJECT_UNKNOWN");
    return known(await store.lockGroup(tx, name));
  }

  return {
    async list({ after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await store.listGroups(database, after, limit + 1);
      return listed(
        found,
        limit,
        (groups) => groups.map(toView),
        ({ name }) => name,
      );
    },
    async create(grant, { name, description = "", source = { kind: "local" }, systemRole }) {
      const group = { name, description, source: parseSource(source), systemRole: systemRole ?? undefined };
      const insert = async (tx: Executor, { actor }: AccountGrant): Promise<GroupView> => {
        const now = clock.now();
        const id = await store.insertGroup(tx, group, now);
        if (id === undefined) throw new ApiError("GROUP_EXISTS", { detail: { name } });
        await changes.record(tx, actor, [{ kind: "group.created", group: name, groupId: id, systemRole: systemRole ?? null }]);
        return toView({ ...group, id, createdAt: new Date(now) });
      };
      return change(grant, { account: grant.account.name }, insert, {});
    },
    async get(name) {
      return toView(known(await store.findGroup(database, name)));
    },
    async update(grant, name, { description, systemRole }) {
      return change(grant, EVERYBODY, async (tx, { actor }) => {
        const group = known(await store.lockGroup(tx, name));
        const next = {
          ...group,
          description: description ?? group.description,
          systemRole: systemRole === undefined ? group.systemRole : (systemRole ?? undefined),
        };
        await store.updateGroup(tx, next);
        await changes.record(tx, actor, [{ kind: "group.updated", group: name, groupId: group.id, systemRole: next.systemRole ?? null }]);
        return toView(next);
      });
    },
    async delete(grant, name) {
      await change(grant, EVERYBODY, async (tx, { actor }) => {
        const { id } = known(await store.lockGroup(tx, name));
        const projects = await store.listSoleOwned(tx, id, MAX_NAMED_PROJECTS);
        if (projects.length > 0) throw new ApiError("LAST_OWNER", { detail: { projects } });
        await store.deleteGroup(tx, id);
        await changes.record(tx, actor, [{ kind: "group.deleted", group: name, groupId: id }]);
      });
    },
    async listMembers(name, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const { id } = known(await store.findGroup(database, name));
      const rows = await store.listGroupMembers(database, id, after, limit + MAX_SOURCES);
      // Whole names: a page ends behind all that say of one that he is a member.
      let end = Math.min(limit, rows.length);
      while (end < rows.length && rows[end]!.name === rows[end - 1]!.name) end++;
      const shown = rows.slice(0, end);
      return { items: shown.map(({ name: user, source }) => ({ user, source })), next: end < rows.length ? shown.at(-1)!.name : null };
    },
    async addMember(grant, name, userName) {
      await change(grant, { account: userName }, async (tx, { actor }) => {
        const group = known(await store.lockGroup(tx, name));
        const user = await getUser(tx, userName);
        if (!(await store.addGroupMember(tx, group.id, user.id, store.LOCAL))) return;
        const member = { account: user.name, accountId: user.id, source: store.LOCAL };
        await changes.record(tx, actor, [{ kind: "group.member-added", group: name, groupId: group.id, ...member }]);
      });
      return { user: userName, source: store.LOCAL };
    },
    async removeMember(grant, name, userName) {
      await change(grant, { account: userName }, async (tx, { actor }) => {
        const group = known(await store.lockGroup(tx, name));
        const user = await findAccountByName(tx, userName);
        if (user === undefined || !(await store.removeGroupMember(tx, group.id, user.id, store.LOCAL)))
          throw new ApiError("MEMBER_UNKNOWN");
        const member = { account: user.name, accountId: user.id, source: store.LOCAL };
        await changes.record(tx, actor, [{ kind: "group.member-removed", group: name, groupId: group.id, ...member }]);
      });
    },
    async listOfProject({ projectId, projectName }, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await store.listProjectGroups(database, { id: projectId, name: projectName }, after, limit + 1);
      return listed(
        found,
        limit,
        (groups) =>
          groups.map(({ name: group, role, scopes }) => ({ group, role, ...(scopes === undefined ? {} : { scopes: viewScopes(scopes) }) })),
        ({ name }) => name,
      );
    },
    async putInProject(grant, name, { role, scopes: views }) {
      const scopes = parseMemberScopes(views, grant.projectName, role);
      await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        const { id: groupId } = await lockProjectAndGroup(tx, projectId, name);
        const from = await store.findGroupRole(tx, projectId, groupId);
        if (role !== "owner") await keepOwner(tx, projectId, groupId, from);
        await store.putProjectGroup(tx, { id: projectId, name: projectName }, groupId, { role, scopes });
        const member = { project: projectName, projectId, group: name, groupId };
        const narrowed = scopes === undefined ? {} : { scopes: changedScopes(scopes) };
        await changes.record(tx, actor, [{ kind: "project.group-changed", ...member, from, to: role, ...narrowed }]);
      });
      return { group: name, role, ...(scopes === undefined ? {} : { scopes: viewScopes(scopes) }) };
    },
    async removeFromProject(grant, name) {
      await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        if (!(await lockProject(tx, projectId))) throw new ApiError("PROJECT_UNKNOWN");
        const group = await store.lockGroup(tx, name);
        const role = await store.findGroupRole(tx, projectId, group?.id ?? NOBODY);
        if (group === undefined || role === undefined) throw new ApiError("MEMBER_UNKNOWN");
        await keepOwner(tx, projectId, group.id, role);
        await store.deleteProjectGroup(tx, projectId, group.id);
        await changes.record(tx, actor, [
          { kind: "project.group-removed", project: projectName, projectId, group: name, groupId: group.id },
        ]);
      });
    },
  };
}

/** No group has this id. */
const NOBODY = 0;

async function keepOwner(tx: Executor, projectId: number, groupId: number, role: Role | undefined): Promise<void> {
  if (role === "owner" && !(await hasOtherOwner(tx, projectId, { groupId }))) throw new ApiError("LAST_OWNER");
}

function known(group: store.Group | undefined): store.Group {
  if (group === undefined) throw new ApiError("GROUP_UNKNOWN");
  return group;
}

/** Errors: FIELD_INVALID. */
function parseSource({ kind, provider, key }: GroupView["source"]): store.GroupSource {
  if (kind === "local" ? provider === undefined && key === undefined : provider !== undefined && key !== undefined)
    return kind === "local" ? { kind } : { kind, provider: provider!, key: kind === "ldap" ? ldapGroupKey(key!) : key! };
  const reason = kind === "local" ? "a local group has neither provider nor key" : "provider and key say which group it is there";
  throw new ApiError("FIELD_INVALID", { detail: [{ field: "body.source", reason }] });
}

function toView({ name, description, source, systemRole, createdAt }: store.Group): GroupView {
  return { name, description, source, systemRole: systemRole ?? null, createdAt: createdAt.toISOString() };
}
