// What counts once, on all replicas together: answers of providers, logout tokens. Not here: ID tokens of machines, which belong to their issuer
// (trust-store.ts).
import { createHash } from "node:crypto";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** Rows that one use deletes of those that have ended: more than it adds. */
const SWEEP_BATCH = 20;

const insert = statement<{ mark: string; endsAt: number }>()("used_mark.insert", (db, p) =>
  db
    .insertInto("used_mark")
    .values({ mark: p.mark, ends_at: p.endsAt })
    .onConflict((conflict) => conflict.doNothing())
    .returning("mark"),
);
const sweep = statement<{ now: number; limit: number }>()("used_mark.sweep", (db, p) =>
  db
    .deleteFrom("used_mark")
    .where("mark", "in", (eb) => eb.selectFrom("used_mark").select("mark").where("ends_at", "<", p.now).orderBy("ends_at").limit(p.limit)),
);

/** Uses something up: false where it was used before. `endsAt`: when it would not count any more anyway. */
export async function useOnce(tx: Executor, parts: readonly string[], endsAt: number, now: number): Promise<boolean> {
  await tx.run(sweep, { now, limit: SWEEP_BATCH }, { any: "what has ended" });
  const mark = createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
  return (await tx.first(insert, { mark, endsAt })) !== undefined;
}
