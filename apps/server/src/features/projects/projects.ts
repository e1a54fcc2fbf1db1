// Projects and their members: what may be done to them, and what must stay true. A project always has an owner.
// Not here: routes (project-routes.ts), rows (project-store.ts, access/member-store.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { MemberView, ProjectView } from "@berth/api/projects";
import type { AccountGrant, Authorizer, ProjectGrant } from "../../access/authorize.ts";
import type { Accounts } from "../../access/accounts.ts";
import { findAccountByName } from "../../access/account-store.ts";
import type { Caller } from "../../access/caller.ts";
import { deleteMember, findRole, hasOtherOwner, listMembers, putMember } from "../../access/member-store.ts";
import type { Role } from "../../access/roles.ts";
import { findProjectUsages, type ProjectUsage } from "../../content/usage.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import type { Deletion } from "../../platform/database/deletion.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";
import {
  deleteProjectRow,
  insertProject,
  listProjectRows,
  listSomeRepositories,
  lockProject,
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
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Projects {
  /** Those that the caller may read. */
  list(caller: Caller, page: PageRequest): Promise<Listed<ProjectView>>;
  create(grant: AccountGrant, project: { name: string; visibility?: "private" | "public" }): Promise<ProjectView>;
  get(grant: ProjectGrant): Promise<ProjectView>;
  update(grant: ProjectGrant, change: { visibility?: "private" | "public" }): Promise<ProjectView>;
  delete(grant: ProjectGrant): Promise<void>;
  listMembers(grant: ProjectGrant, page: PageRequest): Promise<Listed<MemberView>>;
  putMember(grant: ProjectGrant, userName: string, role: Role): Promise<MemberView>;
  deleteMember(grant: ProjectGrant, userName: string): Promise<void>;
}

/** Repositories that a refusal to delete their project names. */
const SHOWN_REPOSITORIES = 5;
/** No account has this id. */
const NOBODY = 0;

/** Makes the rules. */
export function createProjects(parts: ProjectsParts): Projects {
  const { database, clock, accounts, authorizer, deletions } = parts;
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
        return ids.map((id) => views.get(id));
      };
      return listed(found, limit, toViews, (project) => project.name);
    },
    async create(grant, { name, visibility }) {
      const create = async (tx: Executor, { account }: AccountGrant): Promise<number> => {
        const id = await insertProject(tx, name, visibility === "public", clock.now());
        if (id === undefined) throw new ApiError("PROJECT_EXISTS", { detail: { name } });
        await putMember(tx, id, account.id, "owner");
        return id;
      };
      return view(await change(grant, create, {}), grant.account.id);
    },
    async get(grant) {
      return view(grant.projectId, grant.actor.accountId);
    },
    async update(grant, { visibility }) {
      if (visibility !== undefined) {
        const isThere = await change(grant, (tx, { projectId }) => setProjectPublic(tx, projectId, visibility === "public"));
        if (!isThere) throw new ApiError("PROJECT_UNKNOWN");
      }
      return view(grant.projectId, grant.actor.accountId);
    },
    async delete(grant) {
      await change(grant, async (tx, { projectId }) => {
        // A push that would make its first repository waits for this lock, and then finds no project.
        await lockOrUnknown(tx, projectId);
        const left = await listSomeRepositories(tx, projectId, SHOWN_REPOSITORIES);
        if (left.length > 0) {
          const repositories = (await findProjectUsages(tx, [projectId])).get(projectId)?.repositories ?? left.length;
          throw new ApiError("PROJECT_NOT_EMPTY", { detail: { repositories, some: left } });
        }
        await deletions.project.takeAll(tx, projectId);
        await deleteProjectRow(tx, projectId);
      });
    },
    async listMembers({ projectId }, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const found = await listMembers(database, projectId, after, limit + 1);
      return listed(
        found,
        limit,
        (members) => members.map(({ accountName, role }) => ({ user: accountName, role })),
        (member) => member.accountName,
      );
    },
    async putMember(grant, userName, role) {
      await change(grant, async (tx, { projectId }) => {
        await lockOrUnknown(tx, projectId);
        const user = await findAccountByName(tx, userName);
        if (user === undefined || user.kind !== "user") throw new ApiError("USER_UNKNOWN");
        if (role !== "owner") await keepOwner(tx, projectId, user.id);
        await putMember(tx, projectId, user.id, role);
      });
      return { user: userName, role };
    },
    async deleteMember(grant, userName) {
      await change(grant, async (tx, { projectId }) => {
        await lockOrUnknown(tx, projectId);
        const user = await findAccountByName(tx, userName);
        // Looked for whether there is such a user or not: the answer does not tell which it is, so that its time must not either.
        const role = await findRole(tx, projectId, user?.id ?? NOBODY);
        if (user === undefined || role === undefined) throw new ApiError("MEMBER_UNKNOWN");
        await keepOwner(tx, projectId, user.id);
        await deleteMember(tx, projectId, user.id);
      });
    },
  };
}

// The project is locked, so that of two owners who go at once the second sees that the first is gone.
async function keepOwner(tx: Executor, projectId: number, leavingId: number): Promise<void> {
  if ((await findRole(tx, projectId, leavingId)) === "owner" && !(await hasOtherOwner(tx, projectId, leavingId)))
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
