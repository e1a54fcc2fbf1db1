// Plans to untag or delete many at once: made, looked at, run and cancelled. A plan that does not hold any more is not run.
// Not here: what goes (survey.ts, choose.ts), rows (deletion-store.ts), the run (deletion-job.ts).
import type { DeletionItemView, DeletionPlanView } from "@berth/api/deletions";
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import { RegistryError } from "@berth/oci/errors";
import type { Caller, Grant } from "../../access/caller.ts";
import { grantedTransaction } from "../../access/granted-transaction.ts";
import { storeCaller } from "../../access/stored-caller.ts";
import type { GrantedRepository, Repositories } from "../../content/repositories.ts";
import { putJob } from "../../events/job-store.ts";
import { type Clock, HOUR_MS } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { DELETION, type DeletionPayload } from "./deletion-job.ts";
import {
  dropOlderPlan,
  findPlan,
  insertPlan,
  type ItemRow,
  listPlanItems,
  lockPlan,
  type PlanRow,
  setPlanState,
} from "./deletion-store.ts";
import { MAX_ITEMS, type Selection, survey } from "./survey.ts";

/** What the rules need. */
export interface DeletionsParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly repositories: Pick<Repositories, "find">;
}

/** What a request chooses. */
export interface DeletionRequest extends Omit<Selection, "pushedBefore"> {
  readonly pushedBefore?: string;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Deletions {
  create(grant: Grant<"delete">, request: DeletionRequest): Promise<DeletionPlanView>;
  get(grant: Grant<"delete">, id: number): Promise<DeletionPlanView>;
  listItems(grant: Grant<"delete">, id: number, page: PageRequest): Promise<Listed<DeletionItemView>>;
  run(caller: Caller, grant: Grant<"delete">, id: number): Promise<DeletionPlanView>;
  cancel(grant: Grant<"delete">, id: number): Promise<DeletionPlanView>;
}

/** Plans of a repository in a state: the oldest makes room, so that whoever may delete fills no disk. Those that run end by themselves. */
const KEPT_PLANS = { planned: 9, cancelled: 9, done: 99, failed: 99 } as const;
const PLANNED_MS = 24 * HOUR_MS;
const RUN_MS = 7 * 24 * HOUR_MS;
/** Changes that a refusal names. */
const SHOWN_CHANGES = 20;

/** Makes the rules. */
export function createDeletions({ database, clock, repositories }: DeletionsParts): Deletions {
  async function find(grant: Grant<"delete">): Promise<GrantedRepository<"delete">> {
    const repository = await repositories.find(grant);
    if (repository === undefined) throw new ApiError("REPOSITORY_UNKNOWN");
    return repository;
  }

  async function getPlan(executor: Executor, repositoryId: number, id: number): Promise<PlanRow> {
    const plan = await findPlan(executor, repositoryId, id);
    if (plan === undefined || plan.expires_at < clock.now()) throw new ApiError("PLAN_UNKNOWN");
    return plan;
  }

  /** Errors: PLAN_CHANGED, where something of it is not what it was, or would stay now. */
  async function assertHolds(repositoryId: number, { id, action }: PlanRow): Promise<void> {
    const items = (await listPlanItems(database, id, 0, MAX_ITEMS * 2)).filter(({ because }) => because === null);
    const tags = items.flatMap(({ tag }) => tag ?? []);
    const digests = items.flatMap(({ tag, digest }) => (tag === null ? [digest] : []));
    const now = await survey(database, repositoryId, { action, tags, digests });
    const keyOf = ({ tag, digest }: { readonly tag?: string | null | undefined; readonly digest: string }): string =>
      `${tag ?? ""} ${digest}`;
    const present = new Set(now.items.filter(({ stay }) => stay === undefined).map(keyOf));
    const changed = items.filter((item) => !present.has(keyOf(item)));
    if (changed.length > 0) {
      const some = changed.slice(0, SHOWN_CHANGES).map(({ tag, digest }) => tag ?? digest);
      throw new ApiError("PLAN_CHANGED", { detail: { changed: changed.length, some } });
    }
  }

  return {
    async create(grant, request) {
      const selection = readSelection(request);
      const repository = await find(grant);
      const { items, freedBytes, next } = await survey(database, repository.id, selection);
      const id = await grantedTransaction(database, grant, async (tx, { actor: { accountId } }) => {
        const now = clock.now();
        for (const state of ["planned", "cancelled", "done", "failed"] as const)
          await dropOlderPlan(tx, repository.id, state, KEPT_PLANS[state]);
        const plan = { repositoryId: repository.id, accountId, action: selection.action, now, expiresAt: now + PLANNED_MS, freedBytes };
        return insertPlan(tx, { ...plan, next: next ?? null }, items);
      });
      return toView(grant, await getPlan(database, repository.id, id));
    },
    async get(grant, id) {
      return toView(grant, await getPlan(database, (await find(grant)).id, id));
    },
    async listItems(grant, id, { after, limit = DEFAULT_PAGE_SIZE }) {
      if (after !== undefined && !/^\d{1,9}$/.test(after)) throw new RegistryError("PAGE_INVALID");
      const plan = await getPlan(database, (await find(grant)).id, id);
      const found = await listPlanItems(database, plan.id, Number(after ?? 0), limit + 1);
      return listed(
        found,
        limit,
        (rows) => rows.map(toItem),
        ({ number }) => String(number),
      );
    },
    async run(caller, grant, id) {
      const repository = await find(grant);
      const plan = await getPlan(database, repository.id, id);
      if (plan.state !== "planned") throw new ApiError("PLAN_ENDED", { detail: { state: plan.state } });
      await assertHolds(repository.id, plan);
      const work = async (tx: Executor, { projectId }: Grant<"delete">): Promise<void> => {
        const locked = await lockPlan(tx, id);
        if (locked?.state !== "planned") throw new ApiError("PLAN_ENDED", { detail: { state: locked?.state ?? "cancelled" } });
        await setPlanState(tx, id, { state: "running", error: null, expiresAt: clock.now() + RUN_MS });
        const payload: DeletionPayload = { caller: storeCaller(caller) };
        await putJob(tx, { kind: DELETION, subject: String(id), projectId, payload }, clock.now());
      };
      await grantedTransaction(database, grant, work, ON_FULL_DISK);
      return toView(grant, await getPlan(database, repository.id, id));
    },
    async cancel(grant, id) {
      const repository = await find(grant);
      await getPlan(database, repository.id, id);
      const work = async (tx: Executor): Promise<void> => {
        const locked = await lockPlan(tx, id);
        if (locked === undefined) throw new ApiError("PLAN_UNKNOWN");
        if (locked.state !== "planned" && locked.state !== "running") throw new ApiError("PLAN_ENDED", { detail: { state: locked.state } });
        await setPlanState(tx, id, { state: "cancelled", error: null, expiresAt: locked.expires_at });
      };
      await grantedTransaction(database, grant, work, ON_FULL_DISK);
      return toView(grant, await getPlan(database, repository.id, id));
    },
  };
}

/** Errors: FIELD_INVALID for what chooses nothing, or chooses manifests to be untagged. */
function readSelection({ pushedBefore, ...chosen }: DeletionRequest): Selection {
  const { action, tags, digests, prefix, untagged } = chosen;
  const refuse = (field: string, reason: string) => new ApiError("FIELD_INVALID", { detail: [{ field, reason }] });
  if (action === "untag" && digests !== undefined) throw refuse("digests", "a manifest cannot be untagged: name its tags");
  if (action === "untag" && untagged !== undefined) throw refuse("untagged", "what has no tag cannot be untagged");
  if (tags === undefined && digests === undefined && prefix === undefined && untagged !== true)
    throw refuse("tags", "nothing is chosen: give tags, digests, prefix or untagged");
  if (prefix !== undefined && untagged === true)
    throw refuse("untagged", "choose by prefix, or what has no tag: a plan of both could not say where it goes on");
  return { ...chosen, ...(pushedBefore === undefined ? {} : { pushedBefore: Date.parse(pushedBefore) }) };
}

function toView({ repository }: Grant, row: PlanRow): DeletionPlanView {
  const { action, state, error, tags, manifests, stays, next, deleted, kept } = row;
  return {
    id: String(row.id),
    repository,
    action,
    state,
    error,
    createdAt: new Date(row.created_at).toISOString(),
    createdBy: row.created_by,
    expiresAt: new Date(row.expires_at).toISOString(),
    tags,
    manifests,
    stays,
    freedBytes: row.freed_bytes,
    next,
    deleted,
    kept,
  };
}

function toItem({ tag, digest, because, because_of, outcome }: ItemRow): DeletionItemView {
  return {
    kind: tag === null ? "manifest" : "tag",
    tag,
    digest,
    stays: because === null ? null : { because, of: because_of ?? "" },
    outcome,
  };
}
