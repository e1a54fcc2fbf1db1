// The table of issuers whose tokens count. Not here: how their keys are fetched (issuer-keys.ts), who may register one (features/issuers).
import type { Selectable } from "kysely";
import { ON_FULL_DISK, type Database, type Executor } from "../platform/database/database.ts";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";

/** A public key, reduced to what verifies. */
export type PublicJwk = Readonly<Record<string, string>>;

/** An issuer. */
export interface Issuer {
  readonly id: number;
  readonly name: string;
  readonly url: string;
  readonly audiences: readonly string[];
  readonly algorithms: readonly string[];
  readonly isDisabled: boolean;
  readonly isSingleUse: boolean;
  readonly hasGivenKeys: boolean;
  /** Undefined before any were found. */
  readonly keys: readonly PublicJwk[] | undefined;
  readonly keysAt: Date | undefined;
  readonly keysTriedAt: Date | undefined;
  readonly keysError: string | undefined;
  readonly createdAt: Date;
}

/** What an administrator says of an issuer. */
export type IssuerDraft = Pick<
  Issuer,
  "name" | "url" | "audiences" | "algorithms" | "isDisabled" | "isSingleUse" | "hasGivenKeys" | "keys" | "keysAt"
>;

const COLUMNS = [
  "id",
  "name",
  "url",
  "audiences",
  "algorithms",
  "is_disabled",
  "is_single_use",
  "has_given_keys",
  "keys",
  "keys_at",
  "keys_tried_at",
  "keys_error",
  "created_at",
] as const satisfies readonly (keyof Schema["oidc_issuer"])[];

/** Most issuers with one address: clusters whose makers all left the same one. Each is tried in turn. */
export const MAX_ISSUERS_OF_URL = 20;

const findByName = statement<{ name: string }>()("oidc_issuer.by_name", (db, p) =>
  db.selectFrom("oidc_issuer").select(COLUMNS).where("name", "=", p.name),
);
const findById = statement<{ id: number }>()("oidc_issuer.by_id", (db, p) =>
  db.selectFrom("oidc_issuer").select(COLUMNS).where("id", "=", p.id),
);
const lockById = statement<{ id: number }>()("oidc_issuer.lock", (db, p, tools) =>
  db.selectFrom("oidc_issuer").select(COLUMNS).where("id", "=", p.id).modifyEnd(tools.lock("update")),
);
const keepById = statement<{ id: number }>()("oidc_issuer.keep", (db, p, tools) =>
  db.selectFrom("oidc_issuer").select("id").where("id", "=", p.id).modifyEnd(tools.lock("key share")),
);
const findByUrl = statement<{ url: string }>()(
  "oidc_issuer.by_url",
  (db, p) => db.selectFrom("oidc_issuer").select(COLUMNS).where("url", "=", p.url).orderBy("id").limit(MAX_ISSUERS_OF_URL),
  { bounded: "sorts the issuers of one address" },
);
const list = statement<{ after: string; limit: number }>()("oidc_issuer.list", (db, p) =>
  db.selectFrom("oidc_issuer").select(COLUMNS).where("name", ">", p.after).orderBy("name").limit(p.limit),
);
type Written = {
  readonly audiences: string;
  readonly algorithms: string;
  readonly isDisabled: number;
  readonly isSingleUse: number;
  readonly hasGivenKeys: number;
  readonly keys: string | null;
  readonly keysAt: number | null;
};
/** Written of a new issuer and of one that is changed. */
const columnsOf = (p: Written) => ({
  audiences: p.audiences,
  algorithms: p.algorithms,
  is_disabled: p.isDisabled,
  is_single_use: p.isSingleUse,
  has_given_keys: p.hasGivenKeys,
  keys: p.keys,
  keys_at: p.keysAt,
});
const insert = statement<Written & { name: string; url: string; now: number }>()("oidc_issuer.insert", (db, p) =>
  db
    .insertInto("oidc_issuer")
    .values({
      name: p.name,
      url: p.url,
      ...columnsOf(p),
      created_at: p.now,
    })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id"),
);
const update = statement<Written & { id: number }>()("oidc_issuer.update", (db, p) =>
  db
    .updateTable("oidc_issuer")
    .set({
      ...columnsOf(p),
      keys_error: null,
    })
    .where("id", "=", p.id),
);
const remove = statement<{ id: number }>()("oidc_issuer.delete", (db, p) => db.deleteFrom("oidc_issuer").where("id", "=", p.id));
const claimFetch = statement<{ id: number; now: number; before: number }>()("oidc_issuer.claim_fetch", (db, p) =>
  db
    .updateTable("oidc_issuer")
    // What failed before says nothing of this try.
    .set({ keys_tried_at: p.now, keys_error: null })
    .where("id", "=", p.id)
    .where("has_given_keys", "=", 0)
    // In the future: the clock was set back since.
    .where((eb) => eb.or([eb("keys_tried_at", "is", null), eb("keys_tried_at", "<=", p.before), eb("keys_tried_at", ">", p.now)]))
    .returning("id"),
);
const putFetched = statement<{ id: number; keys: string; now: number }>()("oidc_issuer.put_fetched", (db, p) =>
  db
    .updateTable("oidc_issuer")
    .set({ keys: p.keys, keys_at: p.now, keys_error: null })
    .where("id", "=", p.id)
    .where("has_given_keys", "=", 0),
);
const putFailure = statement<{ id: number; error: string }>()("oidc_issuer.put_failure", (db, p) =>
  db.updateTable("oidc_issuer").set({ keys_error: p.error }).where("id", "=", p.id).where("has_given_keys", "=", 0),
);

function toIssuer(row: Selectable<Schema["oidc_issuer"]>): Issuer {
  const timeOf = (at: number | null): Date | undefined => (at === null ? undefined : new Date(at));
  return {
    id: row.id,
    name: row.name,
    url: row.url,
    audiences: JSON.parse(row.audiences) as string[],
    algorithms: JSON.parse(row.algorithms) as string[],
    // What is neither yes nor no keeps out.
    isDisabled: row.is_disabled !== 0,
    isSingleUse: row.is_single_use !== 0,
    hasGivenKeys: row.has_given_keys !== 0,
    keys: row.keys === null ? undefined : (JSON.parse(row.keys) as PublicJwk[]),
    keysAt: timeOf(row.keys_at),
    keysTriedAt: timeOf(row.keys_tried_at),
    keysError: row.keys_error ?? undefined,
    createdAt: new Date(row.created_at),
  };
}

function written(issuer: IssuerDraft): Written {
  return {
    audiences: JSON.stringify(issuer.audiences),
    algorithms: JSON.stringify(issuer.algorithms),
    isDisabled: issuer.isDisabled ? 1 : 0,
    isSingleUse: issuer.isSingleUse ? 1 : 0,
    hasGivenKeys: issuer.hasGivenKeys ? 1 : 0,
    keys: issuer.keys === undefined ? null : JSON.stringify(issuer.keys),
    keysAt: issuer.keysAt?.getTime() ?? null,
  };
}

/** An issuer by its name here. */
export async function findIssuer(executor: Executor, name: string): Promise<Issuer | undefined> {
  const row = await executor.first(findByName, { name });
  return row === undefined ? undefined : toIssuer(row);
}

/** An issuer by its number. */
export async function findIssuerById(executor: Executor, id: number): Promise<Issuer | undefined> {
  const row = await executor.first(findById, { id });
  return row === undefined ? undefined : toIssuer(row);
}

/** An issuer, locked until the transaction's end. */
export async function lockIssuer(tx: Executor, id: number): Promise<Issuer | undefined> {
  const row = await tx.first(lockById, { id });
  return row === undefined ? undefined : toIssuer(row);
}

/** Keeps an issuer from being deleted until the transaction's end; false where it is not there. */
export async function keepIssuer(tx: Executor, id: number): Promise<boolean> {
  return (await tx.first(keepById, { id })) !== undefined;
}

/** The issuers with an address. */
export async function findIssuersOfUrl(executor: Executor, url: string): Promise<Issuer[]> {
  return (await executor.all(findByUrl, { url })).map(toIssuer);
}

/** Issuers after a name, in the order of names. */
export async function listIssuers(executor: Executor, after: string, limit: number): Promise<Issuer[]> {
  return (await executor.all(list, { after, limit })).map(toIssuer);
}

/** Adds an issuer; undefined where there is one of that name. */
export async function insertIssuer(tx: Executor, issuer: IssuerDraft, now: number): Promise<number | undefined> {
  return (await tx.first(insert, { ...written(issuer), name: issuer.name, url: issuer.url, now }))?.id;
}

/** Stores what can be changed of an issuer that is locked. */
export async function updateIssuer(tx: Executor, id: number, issuer: IssuerDraft): Promise<void> {
  await tx.run(update, { ...written(issuer), id }, 1);
}

/** Deletes an issuer that is locked, and that no rule names any more. */
export async function deleteIssuer(tx: Executor, id: number): Promise<void> {
  await tx.run(remove, { id }, 1);
}

/** Takes it upon this process to fetch the keys: false where that was tried since `before`, here or elsewhere. */
export async function claimKeyFetch(database: Database, id: number, now: number, before: number): Promise<boolean> {
  return (await database.write(claimFetch, { id, now, before }, ON_FULL_DISK)).length > 0;
}

/** Stores keys that were fetched, unless an administrator has given some meanwhile. */
export async function putFetchedKeys(database: Database, id: number, keys: readonly PublicJwk[], now: number): Promise<void> {
  const fetched = { id, keys: JSON.stringify(keys), now };
  await database.transaction((tx) => tx.run(putFetched, fetched, { any: "it may be gone, or have been given keys" }), ON_FULL_DISK);
}

/** Stores why keys could not be fetched. */
export async function putKeyFailure(database: Database, id: number, error: string): Promise<void> {
  await database.transaction((tx) => tx.run(putFailure, { id, error }, { any: "it may be gone, or have been given keys" }), ON_FULL_DISK);
}
