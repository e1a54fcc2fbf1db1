// When credentials were used last, and from where: noted in memory, and written together every half minute, so that no request waits for it. What
// ends when it is not used is moved on by it. Not here: whether a credential counts (credential-store.ts).
import { createBackgroundLoop } from "../platform/background-loop.ts";
import { type Clock, DAY_MS, SECOND_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { Credential, CredentialKind } from "./credential-store.ts";

/** Notes uses of credentials. */
export interface CredentialUse {
  /** A credential was used just now. Called for each sign-in: it writes to memory alone. */
  note(credential: Pick<Credential, "id" | "kind">, address: string): void;
  /** Writes what was noted so far. Errors: the database's; what was not written stays noted. */
  flush(): Promise<void>;
  /** Begins to write every half minute, and to delete what has ended. */
  start(): void;
  /** Ends, and writes what is left. */
  stop(): Promise<void>;
}

/** How long a credential of a kind lasts without being used; undefined for one that does not mind. */
export type IdleLifetimes = Readonly<Partial<Record<CredentialKind, number>>>;

const FLUSH_EVERY_MS = 30 * SECOND_MS;
const MAX_REST_MS = 600 * SECOND_MS;
/** Credentials that are remembered between two writes; a use more is not noted. */
const MAX_NOTED = 50_000;
/** Longest address that is kept: an IPv6 address with its zone. */
const MAX_ADDRESS_LENGTH = 64;
/** What has ended stays in lists for a while, so that its owner sees why it is refused. */
const KEPT_AFTER_END_MS = 7 * DAY_MS;
/** Rows that one statement deletes. */
const SWEEP_BATCH = 500;

const touch = statement<{ id: number; at: number; address: string }>()("credential.touch", (db, p) =>
  db.updateTable("credential").set({ last_used_at: p.at, last_address: p.address }).where("id", "=", p.id),
);
const prolong = statement<{ id: number; at: number; address: string; idleEnd: number }>()("credential.prolong", (db, p) =>
  db
    .updateTable("credential")
    .set(({ eb, ref }) => ({
      last_used_at: p.at,
      last_address: p.address,
      expires_at: eb.case().when("ends_at", "<", p.idleEnd).then(ref("ends_at")).else(p.idleEnd).end(),
    }))
    .where("id", "=", p.id)
    // What has ended is not begun again by a use that is written late.
    .where("expires_at", ">", p.at),
);
const sweep = statement<{ before: number; limit: number }>()("credential.sweep", (db, p) =>
  db
    .deleteFrom("credential")
    .where("id", "in", (eb) =>
      eb.selectFrom("credential").select("id").where("expires_at", "<", p.before).orderBy("expires_at").limit(p.limit),
    ),
);

interface Use {
  readonly kind: CredentialKind;
  readonly at: number;
  readonly address: string;
}

/** Makes what notes. `onError`: what was noted could not be written, and is tried again. */
export function createCredentialUse(
  database: Database,
  clock: Clock,
  idleLifetimes: IdleLifetimes,
  onError: (error: unknown) => void,
): CredentialUse {
  let noted = new Map<number, Use>();

  async function flush(): Promise<void> {
    const uses = [...noted].toSorted(([one], [other]) => one - other);
    noted = new Map();
    const gone = { any: "what was revoked meanwhile is left out" };
    try {
      if (uses.length > 0) {
        await database.transaction(
          async (tx) => {
            for (const [id, { kind, at, address }] of uses) {
              const idleMs = idleLifetimes[kind];
              if (idleMs === undefined) await tx.run(touch, { id, at, address }, gone);
              else await tx.run(prolong, { id, at, address, idleEnd: at + idleMs }, gone);
            }
          },
          { durable: false },
        );
      }
    } catch (error) {
      for (const [id, use] of uses) if (!noted.has(id) && noted.size < MAX_NOTED) noted.set(id, use);
      throw error;
    }
  }

  async function flushAndSweep(): Promise<void> {
    await flush();
    const ended = { before: clock.now() - KEPT_AFTER_END_MS, limit: SWEEP_BATCH };
    await database.transaction(async (tx) => tx.run(sweep, ended, { any: "what has ended" }), { durable: false });
  }

  const loop = createBackgroundLoop(flushAndSweep, { everyMs: FLUSH_EVERY_MS, maxRestMs: MAX_REST_MS }, onError);

  return {
    note({ id, kind }, address) {
      if (noted.size < MAX_NOTED || noted.has(id)) noted.set(id, { kind, at: clock.now(), address: address.slice(0, MAX_ADDRESS_LENGTH) });
    },
    flush,
    start: loop.start,
    async stop() {
      await loop.stop();
      await flush().catch(onError);
    },
  };
}
