// The tables of trust rules and of tokens that were used up. Not here: what conditions mean (trust-rules.ts), issuers (issuer-store.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { anchorOf, MAX_RULES_OF_ROBOT, type Condition } from "./trust-rules.ts";

/** A rule: tokens of an issuer that meet all conditions become the robot. */
export interface TrustRule {
  readonly accountId: number;
  readonly name: string;
  readonly issuerId: number;
  readonly issuerName: string;
  readonly issuerUrl: string;
  readonly conditions: readonly Condition[];
  readonly createdAt: Date;
}

/** Most rules that one token is held against: where more could fit, the client has to name its robot. */
export const MAX_CANDIDATES = 200;

interface Row {
  readonly account_id: number;
  readonly name: string;
  readonly issuer_id: number;
  readonly issuer_name: string;
  readonly issuer_url: string;
  readonly conditions: string;
  readonly created_at: number;
}

const COLUMNS = [
  "trust_rule.account_id",
  "trust_rule.name",
  "trust_rule.issuer_id",
  "oidc_issuer.name as issuer_name",
  "oidc_issuer.url as issuer_url",
  "trust_rule.conditions",
  "trust_rule.created_at",
] as const;

const listOfRobot = statement<{ accountId: number }>()("trust_rule.list", (db, p) =>
  db
    .selectFrom("trust_rule")
    .innerJoin("oidc_issuer", "oidc_issuer.id", "trust_rule.issuer_id")
    .select(COLUMNS)
    .where("trust_rule.account_id", "=", p.accountId)
    .orderBy("trust_rule.name")
    .limit(MAX_RULES_OF_ROBOT),
);
const listByAnchors = statement<{ issuerId: number; anchors: string[]; limit: number }>()("trust_rule.by_anchors", (db, p, tools) =>
  db
    .selectFrom("trust_rule")
    .innerJoin("oidc_issuer", "oidc_issuer.id", "trust_rule.issuer_id")
    .select(COLUMNS)
    .where("trust_rule.issuer_id", "=", p.issuerId)
    .where(({ ref }) => tools.inList(ref("trust_rule.anchor"), p.anchors, "text"))
    .limit(p.limit),
);
const put = statement<{
  accountId: number;
  name: string;
  issuerId: number;
  conditions: string;
  anchor: string | null;
  now: number;
}>()("trust_rule.put", (db, p) =>
  db
    .insertInto("trust_rule")
    .values({
      account_id: p.accountId,
      name: p.name,
      issuer_id: p.issuerId,
      conditions: p.conditions,
      anchor: p.anchor,
      created_at: p.now,
    })
    .onConflict((conflict) =>
      conflict.columns(["account_id", "name"]).doUpdateSet({ issuer_id: p.issuerId, conditions: p.conditions, anchor: p.anchor }),
    ),
);
const remove = statement<{ accountId: number; name: string }>()("trust_rule.delete", (db, p) =>
  db.deleteFrom("trust_rule").where("account_id", "=", p.accountId).where("name", "=", p.name).returning("name"),
);
const anyOfIssuer = statement<{ issuerId: number }>()("trust_rule.any_of_issuer", (db, p) =>
  db.selectFrom("trust_rule").select("account_id").where("issuer_id", "=", p.issuerId).limit(1),
);
const endTokensOfIssuer = statement<{ issuerId: number }>()(
  "trust_rule.end_tokens_of_issuer",
  (db, p) =>
    db
      .updateTable("account")
      .set(({ eb, lit }) => ({ epoch: eb("epoch", "+", lit(1)) }))
      .where("id", "in", (eb) => eb.selectFrom("trust_rule").select("trust_rule.account_id").where("issuer_id", "=", p.issuerId)),
  { bounded: "a rare act of an administrator, over the robots of one issuer" },
);
const markUsed = statement<{ issuerId: number; mark: string; endsAt: number }>()("used_id_token.insert", (db, p) =>
  db
    .insertInto("used_id_token")
    .values({ issuer_id: p.issuerId, mark: p.mark, ends_at: p.endsAt })
    .onConflict((conflict) => conflict.columns(["issuer_id", "mark"]).doNothing())
    .returning("mark"),
);
const sweepUsed = statement<{ now: number }>()("used_id_token.sweep", (db, p) =>
  db.deleteFrom("used_id_token").where("ends_at", "<=", p.now),
);

function toRule(row: Row): TrustRule {
  return {
    accountId: row.account_id,
    name: row.name,
    issuerId: row.issuer_id,
    issuerName: row.issuer_name,
    issuerUrl: row.issuer_url,
    conditions: JSON.parse(row.conditions) as Condition[],
    createdAt: new Date(row.created_at),
  };
}

/** A robot's rules. */
export async function listTrustRules(executor: Executor, accountId: number): Promise<TrustRule[]> {
  return (await executor.all(listOfRobot, { accountId })).map(toRule);
}

/** Rules of an issuer with one of these anchors; one more than `MAX_CANDIDATES` where there are more. */
export async function listTrustRulesByAnchors(executor: Executor, issuerId: number, anchors: string[]): Promise<TrustRule[]> {
  return (await executor.all(listByAnchors, { issuerId, anchors, limit: MAX_CANDIDATES + 1 })).map(toRule);
}

/** Writes a rule of a robot that is locked. */
export async function putTrustRule(
  tx: Executor,
  { accountId, name, issuerId, conditions }: Pick<TrustRule, "accountId" | "name" | "issuerId" | "conditions">,
  now: number,
): Promise<void> {
  await tx.run(put, { accountId, name, issuerId, conditions: JSON.stringify(conditions), anchor: anchorOf(conditions), now }, 1);
}

/** Deletes a rule; false where there was none. */
export async function deleteTrustRule(tx: Executor, accountId: number, name: string): Promise<boolean> {
  return (await tx.first(remove, { accountId, name })) !== undefined;
}

/** Whether a rule names an issuer. */
export async function hasTrustRules(executor: Executor, issuerId: number): Promise<boolean> {
  return (await executor.first(anyOfIssuer, { issuerId })) !== undefined;
}

/** Ends the tokens of all robots that an issuer's tokens may have become. */
export async function endTokensOfRules(tx: Executor, issuerId: number): Promise<void> {
  await tx.run(endTokensOfIssuer, { issuerId }, { any: "as many as have a rule of it" });
}

/** Uses a token up; false where it was used before. */
export async function useIdToken(
  tx: Executor,
  used: { readonly issuerId: number; readonly mark: string; readonly endsAt: number },
  now: number,
): Promise<boolean> {
  await tx.run(sweepUsed, { now }, { any: "those that ended" });
  return (await tx.first(markUsed, { ...used })) !== undefined;
}
