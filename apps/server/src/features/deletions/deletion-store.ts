// The rows of plans to delete and of their items. Not here: what goes into them (survey.ts), the rules (deletions.ts).
import type { Executor } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";
import type { SurveyedItem } from "./survey.ts";

const PLAN_COLUMNS = [
  "deletion_plan.id",
  "deletion_plan.repository_id",
  "deletion_plan.action",
  "deletion_plan.state",
  "deletion_plan.error",
  "deletion_plan.created_at",
  "deletion_plan.expires_at",
  "deletion_plan.tags",
  "deletion_plan.manifests",
  "deletion_plan.stays",
  "deletion_plan.freed_bytes",
  "deletion_plan.next",
  "deletion_plan.deleted",
  "deletion_plan.kept",
] as const;

const insert = statement<{
  repositoryId: number;
  accountId: number | null;
  action: string;
  now: number;
  expiresAt: number;
  tags: number;
  manifests: number;
  stays: number;
  freedBytes: number;
  next: string | null;
}>()("deletion.insert", (db, p) =>
  db
    .insertInto("deletion_plan")
    .values({
      repository_id: p.repositoryId,
      account_id: p.accountId,
      action: p.action as "untag",
      state: "planned",
      error: null,
      created_at: p.now,
      expires_at: p.expiresAt,
      tags: p.tags,
      manifests: p.manifests,
      stays: p.stays,
      freed_bytes: p.freedBytes,
      next: p.next,
      deleted: 0,
      kept: 0,
    })
    .returning("id"),
);
const insertItem = statement<{
  planId: number;
  number: number;
  tag: string | null;
  digest: string;
  because: string | null;
  of: string | null;
}>()("deletion.insert_item", (db, p) =>
  db.insertInto("deletion_item").values({
    plan_id: p.planId,
    number: p.number,
    tag: p.tag,
    digest: p.digest,
    because: p.because as null,
    because_of: p.of,
    outcome: null,
  }),
);
const find = statement<{ id: number; repositoryId: number }>()("deletion.find", (db, p) =>
  db
    .selectFrom("deletion_plan")
    .leftJoin("account", "account.id", "deletion_plan.account_id")
    .select([...PLAN_COLUMNS, "account.name as created_by"])
    .where("deletion_plan.id", "=", p.id)
    .where("deletion_plan.repository_id", "=", p.repositoryId),
);
const lock = statement<{ id: number }>()("deletion.lock", (db, p, tools) =>
  db.selectFrom("deletion_plan").select(["state", "expires_at"]).where("id", "=", p.id).modifyEnd(tools.lock("update")),
);
const setState = statement<{ id: number; state: string; error: string | null; expiresAt: number }>()("deletion.set_state", (db, p) =>
  db
    .updateTable("deletion_plan")
    .set({ state: p.state as "done", error: p.error, expires_at: p.expiresAt })
    .where("id", "=", p.id),
);
const findOfJob = statement<{ id: number }>()("deletion.of_job", (db, p) =>
  db
    .selectFrom("deletion_plan")
    .innerJoin("repository", "repository.id", "deletion_plan.repository_id")
    .select([
      "deletion_plan.state",
      "deletion_plan.tags",
      "deletion_plan.manifests",
      "deletion_plan.deleted",
      "deletion_plan.kept",
      "repository.name",
    ])
    .where("deletion_plan.id", "=", p.id),
);
const listItems = statement<{ planId: number; after: number; limit: number }>()("deletion.items", (db, p) =>
  db
    .selectFrom("deletion_item")
    .select(["number", "tag", "digest", "because", "because_of", "outcome"])
    .where("plan_id", "=", p.planId)
    .where("number", ">", p.after)
    .orderBy("number")
    .limit(p.limit),
);
const setOutcome = statement<{ planId: number; number: number; outcome: string }>()("deletion.set_outcome", (db, p) =>
  db
    .updateTable("deletion_item")
    .set({ outcome: p.outcome as "deleted" })
    .where("plan_id", "=", p.planId)
    .where("number", "=", p.number)
    .where("outcome", "is", null),
);
const count = statement<{ id: number; deleted: number; kept: number }>()("deletion.count", (db, p) =>
  db
    .updateTable("deletion_plan")
    .set((eb) => ({ deleted: eb("deleted", "+", p.deleted), kept: eb("kept", "+", p.kept) }))
    .where("id", "=", p.id),
);
const findOlder = statement<{ repositoryId: number; state: string; kept: number }>()("deletion.older", (db, p) =>
  db
    .selectFrom("deletion_plan")
    .select("id")
    .where("repository_id", "=", p.repositoryId)
    .where("state", "=", p.state as "planned")
    .orderBy("id", "desc")
    .limit(1)
    .offset(p.kept),
);
const findExpired = statement<{ now: number }>()("deletion.expired", (db, p) =>
  db.selectFrom("deletion_plan").select("id").where("expires_at", "<", p.now).orderBy("expires_at").limit(1),
);
const drop = statement<{ id: number }>()("deletion.drop", (db, p) => db.deleteFrom("deletion_plan").where("id", "=", p.id));

/** A plan. */
export type PlanRow = NonNullable<Awaited<ReturnType<typeof findPlan>>>;
/** An item of one. */
export type ItemRow = Awaited<ReturnType<typeof listPlanItems>>[number];

/** Writes a plan with its items; gives its id. */
export async function insertPlan(
  tx: Executor,
  plan: {
    repositoryId: number;
    accountId: number | null;
    action: string;
    now: number;
    expiresAt: number;
    freedBytes: number;
    next: string | null;
  },
  items: readonly SurveyedItem[],
): Promise<number> {
  const stays = items.filter(({ stay }) => stay !== undefined).length;
  const tags = items.filter(({ tag }) => tag !== undefined).length;
  const { id } = (await tx.first(insert, { ...plan, tags, manifests: items.length - tags - stays, stays }))!;
  for (const [at, { tag, digest, stay }] of items.entries()) {
    const item = { planId: id, number: at + 1, tag: tag ?? null, digest, because: stay?.because ?? null, of: stay?.of ?? null };
    await tx.run(insertItem, item, 1);
  }
  return id;
}

/** A plan of a repository. */
export function findPlan(executor: Executor, repositoryId: number, id: number) {
  return executor.first(find, { id, repositoryId });
}

/** Locks a plan until the transaction's end. */
export function lockPlan(tx: Executor, id: number): Promise<{ state: PlanRow["state"]; expires_at: number } | undefined> {
  return tx.first(lock, { id });
}

/** Says how a plan stands, and when it is forgotten. */
export async function setPlanState(
  tx: Executor,
  id: number,
  to: { state: PlanRow["state"]; error: string | null; expiresAt: number },
): Promise<void> {
  await tx.run(setState, { id, ...to }, 1);
}

/** What a run has to know of its plan. */
export function findPlanOfJob(executor: Executor, id: number) {
  return executor.first(findOfJob, { id });
}

/** Items of a plan behind a number. */
export function listPlanItems(executor: Executor, planId: number, after: number, limit: number) {
  return executor.all(listItems, { planId, after, limit });
}

/** Writes what became of an item, once. */
export async function putOutcome(tx: Executor, planId: number, number: number, outcome: "deleted" | "changed" | "refused"): Promise<void> {
  if ((await tx.change(setOutcome, { planId, number, outcome })) === 0) return;
  const isDeleted = outcome === "deleted";
  await tx.run(count, { id: planId, deleted: isDeleted ? 1 : 0, kept: isDeleted ? 0 : 1 }, 1);
}

/** Drops a plan of a repository where more than so many are in a state: with each new one, so that they never become more. */
export async function dropOlderPlan(tx: Executor, repositoryId: number, state: PlanRow["state"], kept: number): Promise<void> {
  const older = await tx.first(findOlder, { repositoryId, state, kept });
  if (older !== undefined) await tx.run(drop, { id: older.id }, { any: "it may have been run or dropped meanwhile" });
}

/** Drops one plan that has expired; false where there is none. */
export async function dropExpiredPlan(executor: Executor, now: number): Promise<boolean> {
  const expired = await executor.first(findExpired, { now });
  if (expired === undefined) return false;
  await executor.run(drop, { id: expired.id }, { any: "another replica may have dropped it" });
  return true;
}
