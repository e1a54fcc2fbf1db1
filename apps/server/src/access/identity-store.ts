// The rows of outside identities. Not here: what a sign-in does with them (outside-identities.ts), the table (identity-tables.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { MembershipSource } from "./group-memberships.ts";

/** Who somebody is at a provider. */
export interface IdentityKey extends MembershipSource {
  readonly subject: string;
}

/** What is kept of it. */
export interface IdentityRow extends IdentityKey {
  readonly accountId: number;
  readonly realm: string;
  readonly email: string | undefined;
  readonly fullName: string | undefined;
  readonly createdAt: Date;
  readonly seenAt: Date;
}

/** The same as a statement takes it. */
type Key = { kind: "oidc" | "ldap"; provider: string; subject: string };

const COLUMNS = ["kind", "provider", "subject", "account_id", "realm", "email", "full_name", "created_at", "seen_at"] as const;

const find = statement<Key>()("identity.find", (db, p) =>
  db
    .selectFrom("outside_identity")
    .select(COLUMNS)
    .where("kind", "=", p.kind)
    .where("provider", "=", p.provider)
    .where("subject", "=", p.subject),
);
const list = statement<{ accountId: number }>()(
  "identity.list",
  (db, p) => db.selectFrom("outside_identity").select(COLUMNS).where("account_id", "=", p.accountId).orderBy("kind").orderBy("provider"),
  { bounded: "sorts the identities of one account" },
);
const insert = statement<Key & { accountId: number; realm: string; email: string | null; fullName: string | null; now: number }>()(
  "identity.insert",
  (db, p) =>
    db
      .insertInto("outside_identity")
      .values({
        kind: p.kind,
        provider: p.provider,
        subject: p.subject,
        account_id: p.accountId,
        realm: p.realm,
        email: p.email,
        full_name: p.fullName,
        created_at: p.now,
        seen_at: p.now,
      })
      .onConflict((conflict) => conflict.doNothing())
      .returning("account_id"),
);
const update = statement<Key & { realm: string; email: string | null; fullName: string | null; now: number }>()(
  "identity.update",
  (db, p) =>
    db
      .updateTable("outside_identity")
      .set({ realm: p.realm, email: p.email, full_name: p.fullName, seen_at: p.now })
      .where("kind", "=", p.kind)
      .where("provider", "=", p.provider)
      .where("subject", "=", p.subject),
);
interface Row {
  readonly kind: "oidc" | "ldap";
  readonly provider: string;
  readonly subject: string;
  readonly account_id: number;
  readonly realm: string;
  readonly email: string | null;
  readonly full_name: string | null;
  readonly created_at: number;
  readonly seen_at: number;
}

function toIdentity(row: Row): IdentityRow {
  const { kind, provider, subject, realm } = row;
  return {
    kind,
    provider,
    subject,
    realm,
    accountId: row.account_id,
    email: row.email ?? undefined,
    fullName: row.full_name ?? undefined,
    createdAt: new Date(row.created_at),
    seenAt: new Date(row.seen_at),
  };
}

/** The identity, or undefined where nobody has signed in with it. */
export async function findIdentity(executor: Executor, { kind, provider, subject }: IdentityKey): Promise<IdentityRow | undefined> {
  const row = await executor.first(find, { kind, provider, subject });
  return row === undefined ? undefined : toIdentity(row);
}

/** All that an account signs in with elsewhere. */
export async function listIdentities(executor: Executor, accountId: number): Promise<IdentityRow[]> {
  return (await executor.all(list, { accountId })).map(toIdentity);
}

/** Adds an identity of an account; false where it is somebody's already. */
export async function insertIdentity(tx: Executor, identity: Omit<IdentityRow, "createdAt" | "seenAt">, now: number): Promise<boolean> {
  const { kind, provider, subject, accountId, realm, email, fullName } = identity;
  const values = { kind, provider, subject, accountId, realm, email: email ?? null, fullName: fullName ?? null, now };
  return (await tx.first(insert, values)) !== undefined;
}

/** Stores what the provider says today, of an identity whose account is locked. */
export async function updateIdentity(
  tx: Executor,
  identity: Omit<IdentityRow, "accountId" | "createdAt" | "seenAt">,
  now: number,
): Promise<void> {
  const { kind, provider, subject, realm, email, fullName } = identity;
  await tx.run(
    update,
    { kind, provider, subject, realm, email: email ?? null, fullName: fullName ?? null, now },
    { any: "it may be taken away meanwhile" },
  );
}
