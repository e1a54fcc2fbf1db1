// The credential table: random secrets of accounts, by their hashes. Not here: the cache in front of it (accounts.ts), what one lets through
// (personal-bound.ts), when it was used (credential-use.ts).
import type { Selectable } from "kysely";
import type { Executor } from "../platform/database/database.ts";
import type { Schema } from "../platform/database/schema.ts";
import { statement } from "../platform/database/statement.ts";
import { parseBound, type PersonalBound } from "./personal-bound.ts";

/** What a credential is for. */
export type CredentialKind = Schema["credential"]["kind"];

/** A credential as the database has it. */
export interface Credential {
  readonly id: number;
  readonly accountId: number;
  readonly kind: CredentialKind;
  readonly name: string;
  /** Undefined: all that the account may. */
  readonly bound: PersonalBound | undefined;
  /** It counts as long as the account has this epoch; undefined where it outlives a new password. */
  readonly epoch: number | undefined;
  readonly createdAt: Date;
  readonly endsAt: Date;
  readonly expiresAt: Date;
  readonly lastUsedAt: Date | undefined;
  readonly lastAddress: string | undefined;
}

/** Most credentials of one kind that an account has. */
export const MAX_CREDENTIALS = 100;

const COLUMNS = [
  "id",
  "account_id",
  "kind",
  "name",
  "secret_hash",
  "bound",
  "epoch",
  "created_at",
  "ends_at",
  "expires_at",
  "last_used_at",
  "last_address",
] as const satisfies readonly (keyof Schema["credential"])[];

const findById = statement<{ id: number }>()("credential.by_id", (db, p) =>
  db.selectFrom("credential").select(COLUMNS).where("id", "=", p.id),
);
const findByHash = statement<{ hash: string }>()("credential.by_hash", (db, p) =>
  db.selectFrom("credential").select(COLUMNS).where("secret_hash", "=", p.hash),
);
const list = statement<{ accountId: number; after: number; limit: number }>()("credential.list", (db, p) =>
  db.selectFrom("credential").select(COLUMNS).where("account_id", "=", p.accountId).where("id", ">", p.after).orderBy("id").limit(p.limit),
);
const insert = statement<{
  accountId: number;
  kind: CredentialKind;
  name: string;
  hash: string;
  bound: string | null;
  epoch: number | null;
  now: number;
  endsAt: number;
  expiresAt: number;
  lastUsedAt: number | null;
  address: string | null;
}>()("credential.insert", (db, p) =>
  db
    .insertInto("credential")
    .values({
      account_id: p.accountId,
      kind: p.kind,
      name: p.name,
      secret_hash: p.hash,
      bound: p.bound,
      epoch: p.epoch,
      created_at: p.now,
      ends_at: p.endsAt,
      expires_at: p.expiresAt,
      last_used_at: p.lastUsedAt,
      last_address: p.address,
    })
    .returning("id"),
);
const remove = statement<{ id: number; accountId: number }>()("credential.delete", (db, p) =>
  db.deleteFrom("credential").where("id", "=", p.id).where("account_id", "=", p.accountId).returning("id"),
);

function toCredential(row: Selectable<Schema["credential"]>): Credential {
  return {
    id: row.id,
    accountId: row.account_id,
    kind: row.kind,
    name: row.name,
    bound: row.bound === null ? undefined : parseBound(row.bound, row.name),
    epoch: row.epoch ?? undefined,
    createdAt: new Date(row.created_at),
    endsAt: new Date(row.ends_at),
    expiresAt: new Date(row.expires_at),
    lastUsedAt: row.last_used_at === null ? undefined : new Date(row.last_used_at),
    lastAddress: row.last_address ?? undefined,
  };
}

/** The credential, or undefined. */
export async function findCredential(executor: Executor, id: number): Promise<Credential | undefined> {
  const row = await executor.first(findById, { id });
  return row === undefined ? undefined : toCredential(row);
}

/** The credential whose secret has this hash, or undefined. */
export async function findCredentialByHash(executor: Executor, hash: string): Promise<Credential | undefined> {
  const row = await executor.first(findByHash, { hash });
  return row === undefined ? undefined : toCredential(row);
}

/** An account's credentials of all kinds after one, in the order in which they were made. */
export async function listCredentials(executor: Executor, accountId: number, after: number, limit: number): Promise<Credential[]> {
  return (await executor.all(list, { accountId, after, limit })).map(toCredential);
}

/** Credentials of an account of all kinds. */
export const MAX_OF_ALL_KINDS = 5 * MAX_CREDENTIALS;

/** Makes room for one more of a kind: whoever logs in again and again leaves many behind, and the one that was not used for longest goes. */
export async function makeRoom(tx: Executor, accountId: number, kind: CredentialKind): Promise<void> {
  const kept = (await listCredentials(tx, accountId, 0, MAX_OF_ALL_KINDS)).filter((each) => each.kind === kind);
  const lastOf = (each: Credential): number => (each.lastUsedAt ?? each.createdAt).getTime();
  const oldest = kept.toSorted((one, other) => lastOf(one) - lastOf(other) || one.id - other.id)[0];
  if (oldest !== undefined && kept.length >= MAX_CREDENTIALS) await deleteCredential(tx, accountId, oldest.id);
}

/** What a client calls itself, as far as it is fit to be shown. */
export function clientName(said: string, otherwise: string): string {
  return said.replaceAll(/[^A-Za-z0-9 ._@:/-]/g, "").slice(0, 64) || otherwise;
}

/** What a new credential needs. */
export interface NewCredential {
  readonly accountId: number;
  readonly kind: CredentialKind;
  readonly name: string;
  readonly secretHash: string;
  /** `formatBound`; undefined where it lets through all that the account may. */
  readonly bound?: string;
  /** The account's, where the credential ends with it. */
  readonly epoch?: number;
  readonly endsAt: number;
  /** Sooner than `endsAt` where it ends when it is not used. */
  readonly expiresAt?: number;
  /** Where it is used at once. */
  readonly address?: string;
}

/** Adds a credential; gives its id. */
export async function insertCredential(tx: Executor, credential: NewCredential, now: number): Promise<number> {
  const { accountId, kind, name, secretHash: hash, bound, epoch, endsAt, expiresAt = endsAt, address } = credential;
  const row = await tx.first(insert, {
    accountId,
    kind,
    name,
    hash,
    bound: bound ?? null,
    epoch: epoch ?? null,
    now,
    endsAt,
    expiresAt,
    lastUsedAt: address === undefined ? null : now,
    address: address ?? null,
  });
  return row!.id;
}

/** Deletes a credential of an account; false where there is none. */
export async function deleteCredential(tx: Executor, accountId: number, id: number): Promise<boolean> {
  return (await tx.first(remove, { id, accountId })) !== undefined;
}

/** Whether a credential counts, for the account that it is of. */
export function isLive(credential: Credential | undefined, account: { id: number; epoch: number }, now: number): credential is Credential {
  return (
    credential !== undefined &&
    credential.accountId === account.id &&
    credential.expiresAt.getTime() > now &&
    (credential.epoch === undefined || credential.epoch === account.epoch)
  );
}
