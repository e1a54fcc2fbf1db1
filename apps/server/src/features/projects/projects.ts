// Projects and their members: their operations, and the rules that must stay true. A project always has an owner.
// Not here: routes (project-routes.ts), rows (project-store.ts, access/member-store.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { MemberView, ProjectView } from "@berth/api/projects";
import type { AccountGrant, Authorizer, ProjectGrant } from "../../access/authorize.ts";
import { type AccountChange, changedScopes } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import { findAccountByName, listRobotAccounts } from "../../access/account-store.ts";
import type { Caller } from "../../access/caller.ts";
import type { ChangeSink } from "../../access/changes.ts";
import {
  deleteMember,
  findRole,
  hasOtherOwner,
  isNarrowedMember,
  listMembers,
  lockProject,
  putMember,
  putNarrowedMember,
} from "../../access/member-store.ts";
import { findProjectUsages, type ProjectUsage } from "../../content/usage.ts";
import { isBeyondToken } from "../../access/bounds.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import type { Deletion } from "../../platform/database/deletion.ts";
import { LIST_BATCH, listed, listEvery, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";
import { parseMemberScopes, viewScopes } from "../../access/scope-views.ts";
import {
  deleteProjectRow,
  insertProject,
  listProjectRows,
  listSomeRepositories,
  setProjectPublic,
  type ProjectRow,
} from "./project-store.ts";

/** What the rules need. */
export interface ProjectsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly authorizer: Authorizer;
  /** Of what refers to a project. */
  readonly deletions: Readonly<Record<"project", Deletion>>;
  readonly changes: ChangeSink<AccountChange>;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Projects {
  /** The projects that the caller may read. */
  list(caller: Caller, page: PageRequest): Promise<Listed<ProjectView>>;
  create(grant: AccountGrant, project: { name: string; visibility?: "private" | "public" }): Promise<ProjectView>;
  get(grant: ProjectGrant): Promise<ProjectView>;
  update(grant: ProjectGrant, change: { visibility?: "private" | "public" }): Promise<ProjectView>;
  delete(grant: ProjectGrant): Promise<void>;
  listMembers(grant: ProjectGrant, page: PageRequest): Promise<Listed<MemberView>>;
  putMember(grant: ProjectGrant, userName: string, body: Omit<MemberView, "user">): Promise<MemberView>;
  deleteMember(grant: ProjectGrant, userName: string): Promise<void>;
}

/** Repositories that a refusal to delete their project names. */
const SHOWN_REPOSITORIES = 5;
/** No account has this id. */
const NOBODY = 0;

/** Creates the rules. */
export function createProjects(parts: ProjectsParts): Projects {
  const { database, clock, accounts, authorizer, deletions, changes } = parts;
  const change = createRightsChange(database, accounts);

  async function lockOrUnknown(tx: Executor, projectId: number): Promise<void> {
    if (!(await lockProject(tx, projectId))) throw new ApiError("PROJECT_UNKNOWN");
  }

  async function view(projectId: number, accountId: number | null): Promise<ProjectView> {
    const [row] = await listProjectRows(database, [projectId], accountId ?? undefined);
    if (row === undefined) throw new ApiError("PROJECT_UNKNOWN");
    return toView(row, await findProjectUsages(database, [projectId]));
  }

  return {
    async list(caller, { after, limit = DEFAULT_PAGE_SIZE }) {
      const found = await authorizer.listReadableProjects(caller, after === undefined ? "" : `${after}/`, limit + 1);
      const toViews = async (projects: readonly { readonly id: number }[]): Promise<(ProjectView | undefined)[]> => {
        const ids = projects.map((project) => project.id);
        const rows = await listProjectRows(database, ids, caller.kind === "account" ? caller.accountId : undefined);
        const usages = await findProjectUsages(database, ids);
        const views = new Map(rows.map((row) => [row.id, toView(row, usages)]));
        return ids.map((id) => {
          const project = views.get(id);
          return project === undefined || isBeyondToken(caller, project.name) ? undefined : project;
        });
      };
      return listed(found, limit, toViews, (project) => project.name);
    },
    async create(grant, { name, visibility }) {
      const create = async (tx: Executor, { account, actor }: AccountGrant): Promise<number> => {
        const isPublic = visibility === "public";
        const id = await insertProject(tx, name, isPublic, clock.now());
        if (id === undefined) throw new ApiError("PROJECT_EXISTS", { detail: { name } });
        await putMember(tx, id, account.id, "owner");
        const project = { project: name, projectId: id };
        await changes.record(tx, actor, [
          { kind: "project.created", ...project, isPublic },
          { kind: "member.changed", ...project, account: account.name, accountId: account.id, from: undefined, to: "owner" },
        ]);
        return id;
      };
      return view(await change(grant, { project: name }, create, {}), grant.account.id);
    },
    async get(grant) {
      return view(grant.projectId, grant.actor.accountId);
    },
    async update(grant, { visibility }) {
      if (visibility !== undefined) {
        const isPublic = visibility === "public";
        await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
          if (!(await setProjectPublic(tx, projectId, isPublic))) throw new ApiError("PROJECT_UNKNOWN");
          await changes.record(tx, actor, [{ kind: "project.updated", project: projectName, projectId, isPublic }]);
        });
      }
      return view(grant.projectId, grant.actor.accountId);
    },
    async delete(grant) {
      await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        // A push that would create its first repository waits for this lock, and then finds no project.
        await lockOrUnknown(tx, projectId);
        const left = await listSomeRepositories(tx, projectId, SHOWN_REPOSITORIES);
        if (left.length > 0) {
          const repositories = (await findProjectUsages(tx, [projectId])).get(projectId)?.repositories ?? left.length;
          throw new ApiError("PROJECT_NOT_EMPTY", { detail: { repositories, some: left } });
        }
        const members = changes.wants("member.removed")
          ? await listEvery(
              "",
              (after) => listMembers(tx, { id: projectId, name: projectName }, after, LIST_BATCH),
              LIST_BATCH,
              ({ accountName }) => accountName,
            )
          : [];
        const robots = changes.wants("robot.deleted")
          ? await listEvery(
              "",
              (after) => listRobotAccounts(tx, projectId, after, LIST_BATCH),
              LIST_BATCH,
              ({ name }) => name,
            )
          : [];
        await deletions.project.takeAll(tx, projectId);
        await deleteProjectRow(tx, projectId);
        const project = { project: projectName, projectId };
        await changes.record(tx, actor, [
          ...members.map(({ accountName, accountId }) => ({
            kind: "member.removed" as const,
            ...project,
            account: accountName,
            accountId,
          })),
          ...robots.map(({ id, name }) => ({ kind: "robot.deleted" as const, ...project, account: name, accountId: id })),
          { kind: "project.deleted", ...project },
        ]);
      });
    },
    async listMembers({ projectId, projectName }, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await listMembers(database, { id: projectId, name: projectName }, after, limit + 1);
      return listed(
        found,
        limit,
        (members) =>
          members.map(({ accountName, role, scopes }) => ({
            user: accountName,
            role,
            ...(scopes === undefined ? {} : { scopes: viewScopes(scopes) }),
          })),
        (member) => member.accountName,
      );
    },
    async putMember(grant, userName, { role, scopes: views }) {
      const scopes = parseMemberScopes(views, grant.projectName, role);
      await change(grant, { account: userName, project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        await lockOrUnknown(tx, projectId);
        const user = await findAccountByName(tx, userName);
        if (user === undefined || user.kind !== "user") throw new ApiError("USER_UNKNOWN");
        if (role !== "owner") await keepOwner(tx, projectId, user.id);
        const from = changes.wants("member.changed") ? await findRole(tx, projectId, user.id) : undefined;
        const wasNarrowed = changes.wants("member.changed") && (await isNarrowedMember(tx, projectId, user.id));
        if (scopes === undefined) await putMember(tx, projectId, user.id, role);
        else await putNarrowedMember(tx, { id: projectId, name: projectName }, user.id, { role, scopes });
        const narrowed = scopes === undefined ? {} : { scopes: changedScopes(scopes) };
        const member = { project: projectName, projectId, account: user.name, accountId: user.id };
        if (from !== role || wasNarrowed || scopes !== undefined)
          await changes.record(tx, actor, [{ kind: "member.changed", ...member, from, to: role, ...narrowed }]);
      });
      return { user: userName, role, ...(scopes === undefined ? {} : { scopes: viewScopes(scopes) }) };
    },
    async deleteMember(grant, userName) {
      await change(grant, { account: userName, project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        await lockOrUnknown(tx, projectId);
        const user = await findAccountByName(tx, userName);
        // Looked up whether or not the user exists: the answer does not reveal which it is, so its time must not either.
        const role = await findRole(tx, projectId, user?.id ?? NOBODY);
        if (user === undefined || role === undefined) throw new ApiError("MEMBER_UNKNOWN");
        await keepOwner(tx, projectId, user.id);
        await deleteMember(tx, projectId, user.id);
        const member = { project: projectName, projectId, account: user.name, accountId: user.id };
        await changes.record(tx, actor, [{ kind: "member.removed", ...member }]);
      });
    },
  };
}

// The project is locked, so that of two owners who leave at once the second sees that the first is gone.
async function keepOwner(tx: Executor, projectId: number, leavingId: number): Promise<void> {
  if ((await findRole(tx, projectId, leavingId)) === "owner" && !(await hasOtherOwner(tx, projectId, { accountId: leavingId })))
    throw new ApiError("LAST_OWNER");
}

function toView(row: ProjectRow, usages: ReadonlyMap<number, ProjectUsage>): ProjectView {
  const { repositories = 0, manifests = 0, tags = 0, blobs = 0, bytes = 0 } = usages.get(row.id) ?? {};
  return {
    name: row.name,
    visibility: row.isPublic ? "public" : "private",
    role: row.role ?? null,
    usage: { repositories, manifests, tags, blobs, sizeBytes: bytes },
    createdAt: row.createdAt.toISOString(),
  };
}
