// The key that signs the audit log's checkpoints: one for the registry, made when it is first needed and kept for ever, its private half sealed with
// the secret key. A key that this process's secret key does not open is left in place, so that what it signed stays provable, and another one made.
// Not here: what is signed (audit-chain.ts).
import { createPrivateKey, createPublicKey, generateKeyPair, hash, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { createSeal } from "../../access/seal.ts";
import type { Clock } from "../../platform/clock.ts";
import { type Database, type Executor, ON_FULL_DISK } from "../../platform/database/database.ts";
import { statement } from "../../platform/database/statement.ts";

/** A key that signs. */
export interface AuditSigner {
  readonly id: string;
  readonly privateKey: KeyObject;
}

/** A key that proves. */
export interface AuditPublicKey {
  readonly id: string;
  readonly publicKey: KeyObject;
  /** SPKI, PEM. */
  readonly pem: string;
  /** Whether its private half is sealed with this process's secret key: nobody can have made it who has the database alone. Undefined: not known. */
  readonly isOurs: boolean | undefined;
}

const list = statement<Record<never, never>>()(
  "audit.listKeys",
  (db) => db.selectFrom("audit_key").select(["id", "private_key", "public_key", "created_at"]).orderBy("created_at", "desc").orderBy("id"),
  { bounded: "one key, and one more for each secret key that was lost" },
);
const insert = statement<{ id: string; privateKey: string; publicKey: string; now: number }>()("audit.insertKey", (db, p) =>
  db.insertInto("audit_key").values({ id: p.id, private_key: p.privateKey, public_key: p.publicKey, created_at: p.now }),
);

/** The id of a public key: made of the key, so that a record of it names no other. */
function idOf(publicKey: KeyObject): string {
  return hash("sha256", publicKey.export({ type: "spki", format: "der" }), "base64url").slice(0, 22);
}

const SEAL = "audit key v1";

/** Finds the key that signs, or makes it. It is kept in memory from then on. */
export function createAuditSigner(database: Database, clock: Clock, masterKey: Uint8Array): () => Promise<AuditSigner> {
  const seal = createSeal(masterKey, SEAL);
  let found: AuditSigner | undefined;

  async function find(executor: Executor): Promise<AuditSigner | undefined> {
    for (const { id, private_key } of await executor.all(list, {})) {
      const privateKey = openKey(private_key, id, seal);
      if (privateKey !== undefined && idOf(createPublicKey(privateKey)) === id) return { id, privateKey };
    }
    return undefined;
  }

  async function make(): Promise<AuditSigner> {
    const { publicKey, privateKey } = await promisify(generateKeyPair)("ed25519");
    const id = idOf(publicKey);
    const sealed = seal.seal(privateKey.export({ type: "pkcs8", format: "pem" }), id);
    await database.transaction(
      (tx) => tx.run(insert, { id, privateKey: sealed, publicKey: publicKey.export({ type: "spki", format: "pem" }), now: clock.now() }, 1),
      ON_FULL_DISK,
    );
    return { id, privateKey };
  }

  // Two processes that make the first key at once make two: both prove what they signed.
  return async () => (found ??= (await find(database)) ?? (await make()));
}

/** All keys, for who verifies. Without a secret key nobody can say whether they are the registry's. */
export async function listAuditKeys(executor: Executor, masterKey: Uint8Array | undefined): Promise<AuditPublicKey[]> {
  const seal = masterKey === undefined ? undefined : createSeal(masterKey, SEAL);
  return (await executor.all(list, {})).flatMap(({ id, private_key, public_key }) => {
    const publicKey = parsePublicKey(public_key);
    if (publicKey === undefined || idOf(publicKey) !== id) return [];
    const privateKey = seal === undefined ? undefined : openKey(private_key, id, seal);
    const isOurs = seal === undefined ? undefined : privateKey !== undefined && idOf(createPublicKey(privateKey)) === id;
    return [{ id, publicKey, pem: public_key, isOurs }];
  });
}

/** A public key that somebody gave, with its id. Throws where it is none. */
export function readAuditKey(pem: string): AuditPublicKey {
  const publicKey = createPublicKey(pem);
  return { id: idOf(publicKey), publicKey, pem, isOurs: true };
}

function openKey(sealed: string, id: string, seal: ReturnType<typeof createSeal>): KeyObject | undefined {
  try {
    return createPrivateKey(seal.open(sealed, id));
  } catch {
    // Sealed with another secret key, or no key of ours at all.
    return undefined;
  }
}

function parsePublicKey(pem: string): KeyObject | undefined {
  try {
    return createPublicKey(pem);
  } catch {
    // Somebody changed it: what it signed is then signed by no known key.
    return undefined;
  }
}
