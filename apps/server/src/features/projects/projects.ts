// Projects and their members: their operations, and the rules that must stay true. A project always has an owner.
// Not here: routes (project-routes.ts), rows (project-store.ts, access/member-store.ts).
import { isDeepStrictEqual } from "node:util";
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { MemberView, ProjectView } from "@berth/api/projects";
import type { AccountGrant, Authorizer, ProjectGrant } from "../../access/authorize.ts";
import { type AccountChange, changedScopes } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import { findAccountByName, listRobotAccounts, lockAccount } from "../../access/account-store.ts";
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
import type { ReadableProject } from "../../access/readable-projects.ts";
import type { Role } from "../../access/roles.ts";
import { createRightsChange } from "../rights-change.ts";
import { parseMemberScopes, viewScopes } from "../../access/scope-views.ts";
import { findProfiles, NO_PROFILE, type Profile, putProfile } from "./profile-store.ts";
import {
  deleteProjectRow,
  insertProject,
  listProjectRows,
  listSomeRepositories,
  ownsAsMany,
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
  readonly runTimeSettings: { readonly ownedPerUser: number };
}

/** Changes of a project: what is undefined stays. */
export interface ProjectChange extends Partial<Profile> {
  readonly visibility?: "private" | "public";
}

/** The new owner of a project, and the role that the old one keeps. The old one is the caller where `from` is undefined. */
export interface ProjectTransfer {
  readonly to: string;
  readonly from?: string;
  readonly role?: Role | null;
}

/** The rules, for callers with the proof of their permission. Their errors are those of the operations of the same name. */
export interface Projects {
  /** The projects that the caller may read. */
  list(caller: Caller, page: PageRequest): Promise<Listed<ProjectView>>;
  create(grant: AccountGrant, project: { name: string } & ProjectChange): Promise<ProjectView>;
  get(grant: ProjectGrant): Promise<ProjectView>;
  update(grant: ProjectGrant, change: ProjectChange): Promise<ProjectView>;
  transfer(grant: ProjectGrant, transfer: ProjectTransfer): Promise<ProjectView>;
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
    return toView(row, await findProjectUsages(database, [projectId]), await findProfiles(database, [projectId]));
  }

  return {
    async list(caller, { after, limit = DEFAULT_PAGE_SIZE }) {
      const found = await authorizer.listReadableProjects(caller, after === undefined ? "" : `${after}/`, limit + 1);
      const toViews = async (projects: readonly ReadableProject[]): Promise<(ProjectView | undefined)[]> => {
        const ids = projects.map((project) => project.id);
        const rows = await listProjectRows(database, ids, caller.kind === "account" ? caller.accountId : undefined);
        const usages = await findProjectUsages(database, ids);
        const profiles = await findProfiles(database, ids);
        const views = new Map(rows.map((row) => [row.id, toView(row, usages, profiles)]));
        return projects.map(({ id, isAway = false }) => {
          const project = views.get(id);
          return project === undefined || isAway || isBeyondToken(caller, project.name) ? undefined : project;
        });
      };
      return listed(found, limit, toViews, (project) => project.name);
    },
    async create(grant, { name, visibility, ...described }) {
      const profile = readProfile(NO_PROFILE, described);
      const create = async (tx: Executor, { account, actor }: AccountGrant): Promise<number> => {
        const isPublic = visibility === "public";
        if (!account.isAdmin) await refuseMore(tx, account.id, parts.runTimeSettings.ownedPerUser);
        const id = await insertProject(tx, name, isPublic, clock.now());
        if (id === undefined) throw new ApiError("PROJECT_EXISTS", { detail: { name } });
        if (profile !== NO_PROFILE) await putProfile(tx, id, profile);
        await putMember(tx, id, account.id, "owner");
        const project = { project: name, projectId: id };
        await changes.record(tx, actor, [
          { kind: "project.created", ...project, isPublic },
          ...(profile === NO_PROFILE ? [] : [{ kind: "project.described" as const, ...project, from: NO_PROFILE, to: profile }]),
          { kind: "member.changed", ...project, account: account.name, accountId: account.id, from: undefined, to: "owner" },
        ]);
        return id;
      };
      return view(await change(grant, { project: name }, create, {}), grant.account.id);
    },
    async get(grant) {
      return view(grant.projectId, grant.actor.accountId);
    },
    async update(grant, { visibility, ...described }) {
      await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        const project = { project: projectName, projectId };
        // Locked, so that of two changes at once the second begins with what the first has left.
        await lockOrUnknown(tx, projectId);
        await changes.record(tx, actor, await updateLocked(tx, project, { visibility, ...described }));
      });
      return view(grant.projectId, grant.actor.accountId);
    },
    async transfer(grant, { to, from, role = "maintainer" }) {
      const stepsBack = from ?? grant.actor.name;
      await change(grant, { project: grant.projectName }, async (tx, { projectId, projectName, actor }) => {
        await lockOrUnknown(tx, projectId);
        await changes.record(tx, actor, await handOver(tx, { project: projectName, projectId }, { to, stepsBack, role }));
      });
      // Who has stepped back may see it no longer; that it was done is told all the same.
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

// The account is locked, so that of two projects at once the second counts the first.
async function refuseMore(tx: Executor, accountId: number, limit: number): Promise<void> {
  await lockAccount(tx, accountId);
  if (!(await ownsAsMany(tx, accountId, limit))) return;
  const message = `you own ${limit} projects, and may own no more: hand some over, delete some, or ask an administrator`;
  throw new ApiError("PROJECTS_EXCEEDED", { message, detail: { limit } });
}

/** Changes a locked project; gives what has changed. Errors: PROJECT_UNKNOWN, FIELD_INVALID. */
async function updateLocked(
  tx: Executor,
  project: { readonly project: string; readonly projectId: number },
  { visibility, ...described }: { readonly visibility: "private" | "public" | undefined } & Partial<Profile>,
): Promise<AccountChange[]> {
  const { projectId } = project;
  const said: AccountChange[] = [];
  if (visibility !== undefined) {
    const isPublic = visibility === "public";
    if (!(await setProjectPublic(tx, projectId, isPublic))) throw new ApiError("PROJECT_UNKNOWN");
    said.push({ kind: "project.updated", ...project, isPublic });
  }
  const from = (await findProfiles(tx, [projectId])).get(projectId) ?? NO_PROFILE;
  const to = readProfile(from, described);
  if (to === from) return said;
  await putProfile(tx, projectId, to);
  return [...said, { kind: "project.described", ...project, from, to }];
}

/** Makes another user the owner of a locked project, and takes the role of one owner back. */
async function handOver(
  tx: Executor,
  project: { readonly project: string; readonly projectId: number },
  { to, stepsBack, role }: { readonly to: string; readonly stepsBack: string; readonly role: Role | null },
): Promise<AccountChange[]> {
  const { projectId } = project;
  const heir = await findAccountByName(tx, to);
  if (heir === undefined || heir.kind !== "user") throw new ApiError("USER_UNKNOWN");
  const owner = await findAccountByName(tx, stepsBack);
  if (owner === undefined || (await findRole(tx, projectId, owner.id)) !== "owner")
    throw new ApiError("MEMBER_UNKNOWN", { message: `${stepsBack} is not an owner of the project`, detail: { from: stepsBack } });
  const before = await findRole(tx, projectId, heir.id);
  const said: AccountChange[] = [];
  if (before !== "owner") {
    await putMember(tx, projectId, heir.id, "owner");
    said.push({ kind: "member.changed", ...project, account: heir.name, accountId: heir.id, from: before, to: "owner" });
  }
  if (owner.id === heir.id || role === "owner") return said;
  const left = { ...project, account: owner.name, accountId: owner.id };
  if (role === null) {
    await deleteMember(tx, projectId, owner.id);
    return [...said, { kind: "member.removed", ...left }];
  }
  await putMember(tx, projectId, owner.id, role);
  return [...said, { kind: "member.changed", ...left, from: "owner", to: role }];
}

// The project is locked, so that of two owners who leave at once the second sees that the first is gone.
async function keepOwner(tx: Executor, projectId: number, leavingId: number): Promise<void> {
  if ((await findRole(tx, projectId, leavingId)) === "owner" && !(await hasOtherOwner(tx, projectId, { accountId: leavingId })))
    throw new ApiError("LAST_OWNER");
}

/** A profile with what is changed of it: itself where that is nothing. Errors: FIELD_INVALID. */
function readProfile(from: Profile, { description, contact, labels }: Partial<Profile>): Profile {
  const keys = new Set(labels?.map(({ key }) => key));
  if (labels !== undefined && keys.size < labels.length)
    throw new ApiError("FIELD_INVALID", { detail: [{ field: "labels", reason: "has a key twice" }] });
  const to: Profile = {
    description: description === undefined ? from.description : description,
    contact: contact === undefined ? from.contact : contact,
    labels:
      labels === undefined ? from.labels : labels.map(({ key, value }) => ({ key, value })).toSorted((a, b) => (a.key < b.key ? -1 : 1)),
  };
  return isDeepStrictEqual(from, to) ? from : to;
}

function toView(row: ProjectRow, usages: ReadonlyMap<number, ProjectUsage>, profiles: ReadonlyMap<number, Profile>): ProjectView {
  const { description, contact, labels } = profiles.get(row.id) ?? NO_PROFILE;
  const { repositories = 0, manifests = 0, tags = 0, blobs = 0, bytes = 0 } = usages.get(row.id) ?? {};
  return {
    name: row.name,
    visibility: row.isPublic ? "public" : "private",
    description,
    contact,
    labels: [...labels],
    role: row.role ?? null,
    usage: { repositories, manifests, tags, blobs, sizeBytes: bytes },
    createdAt: row.createdAt.toISOString(),
  };
}
