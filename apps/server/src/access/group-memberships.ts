// What a sign-in provider says of a user's groups, taken over: the memberships of one source become just those. Not here: signing in, memberships that
// administrators make (features/groups).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { AccountChange } from "./account-changes.ts";
import type { Account } from "./account-store.ts";
import type { Actor } from "./actor.ts";
import type { ChangeSink } from "./changes.ts";

/** Who says it. */
export interface MembershipSource {
  readonly kind: "oidc" | "ldap";
  /** The provider's name. */
  readonly provider: string;
}

const listCurrent = statement<{ accountId: number; source: string }>()(
  "group.list_current",
  (db, p) =>
    db
      .selectFrom("group_member")
      .innerJoin("account_group", "account_group.id", "group_member.group_id")
      .select(["account_group.id", "account_group.name"])
      .where("group_member.account_id", "=", p.accountId)
      .where("group_member.source", "=", p.source),
  { bounded: "the groups of one account" },
);
const listNamed = statement<{ kind: string; provider: string; keys: string[] }>()(
  "group.list_named",
  (db, p, tools) =>
    db
      .selectFrom("account_group")
      .select(["id", "name", "external_key as key"])
      .where("source", "=", p.kind)
      .where("provider", "=", p.provider)
      .where("external_key", "is not", null)
      .where(({ ref }) => tools.inList(ref("external_key"), p.keys, "text")),
  { bounded: "as many as one sign-in names" },
);
const add = statement<{ accountId: number; source: string; groupIds: number[] }>()(
  "group.add_memberships",
  (db, p, tools) =>
    db
      .insertInto("group_member")
      .columns(["group_id", "account_id", "source"])
      .expression((eb) =>
        eb
          .selectFrom("account_group")
          .select(({ ref, cast, val }) => [
            ref("account_group.id").as("group_id"),
            cast<number>(val(p.accountId), "bigint").as("account_id"),
            cast<string>(val(p.source), "text").as("source"),
          ])
          .where(({ ref }) => tools.inList(ref("account_group.id"), p.groupIds, "bigint")),
      )
      .onConflict((conflict) => conflict.doNothing()),
  { bounded: "as many as one sign-in names" },
);
const remove = statement<{ accountId: number; source: string; groupIds: number[] }>()(
  "group.remove_memberships",
  (db, p, tools) =>
    db
      .deleteFrom("group_member")
      .where("account_id", "=", p.accountId)
      .where("source", "=", p.source)
      .where(({ ref }) => tools.inList(ref("group_id"), p.groupIds, "bigint")),
  { bounded: "the groups of one account" },
);

/** Those of a provider's names that a group here stands for. */
export async function listNamedGroups(
  tx: Executor,
  { kind, provider }: MembershipSource,
  names: readonly string[],
): Promise<{ readonly id: number; readonly name: string; readonly key: string | null }[]> {
  return tx.all(listNamed, { kind, provider, keys: [...new Set(names)] });
}

/**
 * Makes a user a member of just those groups of a provider that it names, inside a transaction; what others say stays. Names without a group here
 * give nothing. The account is locked. Whoever calls it has the account forgotten afterwards (`Accounts.forget`), where it gives true: something
 * has changed.
 */
export async function setMemberships(
  tx: Executor,
  { actor, changes }: { readonly actor: Actor; readonly changes: ChangeSink<AccountChange> },
  { account, source: { kind, provider } }: { readonly account: Pick<Account, "id" | "name">; readonly source: MembershipSource },
  externalNames: readonly string[],
): Promise<boolean> {
  const source = `${kind}:${provider}`;
  const before = await tx.all(listCurrent, { accountId: account.id, source });
  const after = await listNamedGroups(tx, { kind, provider }, externalNames);
  const had = new Set(before.map(({ id }) => id));
  const has = new Set(after.map(({ id }) => id));
  const added = after.filter(({ id }) => !had.has(id));
  const removed = before.filter(({ id }) => !has.has(id));
  const ids = (groups: readonly { readonly id: number }[]): number[] => groups.map(({ id }) => id);
  const any = { any: "a group may be deleted meanwhile" };
  if (removed.length > 0) await tx.run(remove, { accountId: account.id, source, groupIds: ids(removed) }, any);
  if (added.length > 0) await tx.run(add, { accountId: account.id, source, groupIds: ids(added) }, any);
  const member = { account: account.name, accountId: account.id, source };
  await changes.record(tx, actor, [
    ...removed.map(({ id, name }) => ({ kind: "group.member-removed" as const, group: name, groupId: id, ...member })),
    ...added.map(({ id, name }) => ({ kind: "group.member-added" as const, group: name, groupId: id, ...member })),
  ]);
  return added.length + removed.length > 0;
}
