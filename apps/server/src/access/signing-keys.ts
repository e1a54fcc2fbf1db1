// The keys that sign tokens: in the database, so that replicas accept each other's; private parts encrypted; replaced ahead of time. Not
// here: tokens (tokens.ts).
import { createPrivateKey, createPublicKey, generateKeyPair, randomBytes, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { JWK } from "jose";
import type { Clock } from "../platform/clock.ts";
import { type Database, ON_FULL_DISK } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import { createSeal } from "./seal.ts";

/**
 * The one algorithm with which tokens are signed and checked: Ed25519, whose signatures need no random number. A check takes 145 us of a
 * core, and with ES256 101, but it is done only once for each token, because the result is cached. Source: RFC 8037.
 */
export const TOKEN_ALGORITHM = "EdDSA";

/** A key that signs now. */
export interface Signer {
  readonly id: string;
  readonly privateKey: KeyObject;
}

/** The registry's token keys. */
export interface SigningKeys {
  /** Checks at the start that there is a key and that the master key opens it. */
  prepare(): Promise<void>;
  /** The newest key. */
  getSigner(): Promise<Signer>;
  /** The public key of that id, if tokens signed with it still count. */
  findVerifier(id: string): Promise<KeyObject | undefined>;
  /** The public keys as a JWK set. Source: RFC 7517, section 5. */
  listPublic(): Promise<{ keys: JWK[] }>;
  /**
   * Creates the next key if the newest one will not sign for long any more. If nobody calls this, the first signature that needs a key
   * creates it. Throws, and creates none, if this process's secret key does not open the newest: nobody could open its key.
   */
  renew(): Promise<void>;
  /** Creates a new key that signs from now on; older ones verify until their tokens have ended. */
  rotate(): Promise<void>;
}

/** How long keys live. */
export interface SigningKeysOptions {
  readonly database: Database;
  readonly clock: Clock;
  readonly masterKey: Uint8Array;
  /** How long a key signs. 30 days by default, which bounds what a stolen key opens. */
  readonly signsForMs?: number;
}

const DAY_MS = 24 * 60 * 60_000;
const DEFAULT_SIGNS_FOR_MS = 30 * DAY_MS;
/** The longest life of a token that the configuration allows: a key verifies that long after it last signed. */
export const MAX_TOKEN_LIFETIME_SECONDS = 60 * 60;
/** Clocks of replicas may differ by this much. */
export const CLOCK_SKEW_SECONDS = 30;
/** An unknown key id causes a look-up in the database, but not more often than this, whatever ids are sent. */
const RELOAD_EVERY_MS = 1000;
/** A key that another replica created or ended is noticed after this time at the latest. */
const RELOAD_AFTER_MS = 10_000;
/** There are few keys: one a month, and those of the last hour. The limit bounds a defect. */
const MAX_KEYS = 100;

const list = statement<{ now: number }>()(
  "signing_key.list",
  (db, p) =>
    db
      .selectFrom("signing_key")
      .select(["id", "algorithm", "private_key", "public_key", "created_at", "signs_until", "verifies_until"])
      .where("verifies_until", ">", p.now)
      .orderBy("created_at", "desc")
      .orderBy("id")
      .limit(MAX_KEYS),
  { bounded: "a handful of keys" },
);
// On PostgreSQL it serialises replicas that create a key at once: the second one sees the first one's key.
const lockSigning = statement<{ now: number }>()("signing_key.lock", (db, p) =>
  db
    .insertInto("job_lease")
    .values({ name: "signing-key", holder: "", fence: 0, expires_at: p.now })
    .onConflict((conflict) => conflict.column("name").doUpdateSet({ expires_at: p.now })),
);
const newest = statement<{ now: number }>()(
  "signing_key.newest",
  (db, p) =>
    db
      .selectFrom("signing_key")
      .select(["id", "signs_until", "created_at"])
      .where("signs_until", ">", p.now)
      .orderBy("created_at", "desc")
      .limit(1),
  { bounded: "a handful of keys" },
);
const endOthers = statement<{ now: number; verifiesUntil: number }>()(
  "signing_key.end_others",
  (db, p) => db.updateTable("signing_key").set({ signs_until: p.now, verifies_until: p.verifiesUntil }).where("signs_until", ">", p.now),
  { bounded: "a handful of keys" },
);
const insert = statement<{
  id: string;
  algorithm: string;
  privateKey: string;
  publicKey: string;
  now: number;
  signsUntil: number;
  verifiesUntil: number;
}>()("signing_key.insert", (db, p) =>
  db.insertInto("signing_key").values({
    id: p.id,
    algorithm: p.algorithm,
    private_key: p.privateKey,
    public_key: p.publicKey,
    created_at: p.now,
    signs_until: p.signsUntil,
    verifies_until: p.verifiesUntil,
  }),
);
const removeEnded = statement<{ now: number }>()(
  "signing_key.delete_ended",
  (db, p) => db.deleteFrom("signing_key").where("verifies_until", "<=", p.now),
  { bounded: "a handful of keys" },
);

interface LoadedKey {
  readonly id: string;
  readonly jwk: JWK;
  readonly publicKey: KeyObject;
  readonly sealedPrivateKey: string;
  privateKey: KeyObject | undefined;
  readonly signsUntil: number;
  readonly verifiesUntil: number;
}

/** Creates the key ring; nothing is read before the first call. */
export function createSigningKeys(options: SigningKeysOptions): SigningKeys {
  const { database, clock } = options;
  const signsForMs = options.signsForMs ?? DEFAULT_SIGNS_FOR_MS;
  const verifiesForMs = (MAX_TOKEN_LIFETIME_SECONDS + CLOCK_SKEW_SECONDS) * 1000;
  // The next key is created when a tenth of the last one's life is left.
  const renewMs = signsForMs / 10;
  const seal = createSeal(options.masterKey, "signing key v1");
  let keys = new Map<string, LoadedKey>();
  let loadedAt = -Infinity;
  let loading: Promise<void> | undefined;

  async function load(): Promise<void> {
    const startedAt = clock.now();
    const rows = await database.all(list, { now: startedAt });
    const next = new Map<string, LoadedKey>();
    for (const row of rows) {
      const known = keys.get(row.id);
      const jwk: JWK = known?.jwk ?? (JSON.parse(row.public_key) as JWK);
      next.set(row.id, {
        id: row.id,
        jwk,
        publicKey: known?.publicKey ?? createPublicKey({ key: jwk, format: "jwk" }),
        sealedPrivateKey: row.private_key,
        privateKey: known?.privateKey,
        signsUntil: row.signs_until,
        verifiesUntil: row.verifies_until,
      });
    }
    keys = next;
    loadedAt = startedAt;
  }

  function reload(): Promise<void> {
    loading ??= load().finally(() => {
      loading = undefined;
    });
    return loading;
  }

  function isOlderThan(ms: number): boolean {
    return Math.abs(clock.now() - loadedAt) >= ms;
  }

  // The map is in the order of creation, newest first.
  function findNewest(until: number): LoadedKey | undefined {
    for (const key of keys.values()) if (key.signsUntil > until) return key;
    return undefined;
  }

  async function create(ending: "all others" | "none", unlessSignsUntil: number): Promise<void> {
    const { publicKey, privateKey } = await promisify(generateKeyPair)("ed25519");
    const id = randomBytes(16).toString("base64url");
    const jwk: JWK = { ...publicKey.export({ format: "jwk" }), kid: id, alg: TOKEN_ALGORITHM, use: "sig" };
    const sealed = seal.seal(privateKey.export({ type: "pkcs8", format: "pem" }), id);
    await database.transaction(async (tx) => {
      const now = clock.now();
      await tx.run(lockSigning, { now }, 1);
      const current = await tx.first(newest, { now });
      if (ending === "none" && current !== undefined && current.signs_until > unlessSignsUntil) return;
      if (ending === "all others") await tx.run(endOthers, { now, verifiesUntil: now + verifiesForMs }, { any: "as many as sign" });
      await tx.run(removeEnded, { now }, { any: "as many as have ended" });
      await tx.run(
        insert,
        {
          id,
          algorithm: TOKEN_ALGORITHM,
          privateKey: sealed,
          publicKey: JSON.stringify(jwk),
          // Later than its predecessor, so that all replicas agree which is the newest.
          now: Math.max(now, (current?.created_at ?? 0) + 1),
          signsUntil: now + signsForMs,
          verifiesUntil: now + signsForMs + verifiesForMs,
        },
        1,
      );
    }, ON_FULL_DISK);
    // A load that began before the commit must not be taken for one that saw it.
    await loading;
    await reload();
  }

  function openKey(key: LoadedKey): KeyObject {
    if (key.privateKey === undefined) {
      let pem: string;
      try {
        pem = seal.open(key.sealedPrivateKey, key.id);
      } catch (cause) {
        throw new Error(`the secret key does not open the token key ${key.id}: it is not the one that the database was made with`, {
          cause,
        });
      }
      key.privateKey = createPrivateKey(pem);
    }
    return key.privateKey;
  }

  async function getSigner(): Promise<Signer> {
    if (isOlderThan(RELOAD_AFTER_MS)) await reload();
    if (findNewest(clock.now() + renewMs) === undefined) await create("none", clock.now() + renewMs);
    const key = findNewest(clock.now());
    if (key === undefined) throw new Error("no token key signs, though one was made: the clocks of the replicas differ too much");
    return { id: key.id, privateKey: openKey(key) };
  }

  return {
    async prepare() {
      const { id, privateKey } = await getSigner();
      const { x } = createPublicKey(privateKey).export({ format: "jwk" });
      if (keys.get(id)?.jwk.x !== x) throw new Error(`the token key ${id} does not fit its public part`);
    },
    getSigner,
    async findVerifier(id) {
      if (isOlderThan(RELOAD_AFTER_MS) || (!keys.has(id) && isOlderThan(RELOAD_EVERY_MS))) await reload();
      const key = keys.get(id);
      return key !== undefined && key.verifiesUntil > clock.now() ? key.publicKey : undefined;
    },
    async listPublic() {
      if (isOlderThan(RELOAD_AFTER_MS)) await reload();
      return { keys: [...keys.values()].map((key) => key.jwk) };
    },
    async renew() {
      await reload();
      const current = findNewest(clock.now());
      // The very first one is created by the first signature.
      if (current === undefined) return;
      openKey(current);
      if (current.signsUntil <= clock.now() + renewMs) await create("none", clock.now() + renewMs);
    },
    rotate: () => create("all others", 0),
  };
}
