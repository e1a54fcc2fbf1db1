// Which outside identity sessions were begun by, and how sessions of one identity are found when its provider ends them. Not here: sessions
// themselves (credential-store.ts), what begins and ends them (sessions.ts).
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";

/** An OpenID provider's part in a session. */
export interface SessionOrigin {
  readonly provider: string;
  readonly subject: string;
  /** The provider's session, where it named it. */
  readonly sid: string | undefined;
  /** Sealed. */
  readonly idToken: string | undefined;
}

/** A session that a provider ends. */
interface EndedSession {
  readonly id: number;
  readonly accountId: number;
}

const insert = statement<{ id: number; provider: string; subject: string; sid: string | null; idToken: string | null }>()(
  "session.insert_origin",
  (db, p) =>
    db
      .insertInto("session_origin")
      .values({ credential_id: p.id, provider: p.provider, subject: p.subject, sid: p.sid, id_token: p.idToken }),
);
const find = statement<{ id: number }>()("session.find_origin", (db, p) =>
  db.selectFrom("session_origin").select(["provider", "subject", "sid", "id_token"]).where("credential_id", "=", p.id),
);
const bySid = statement<{ provider: string; sid: string }>()(
  "session.by_sid",
  (db, p) =>
    db
      .selectFrom("session_origin")
      .innerJoin("credential", "credential.id", "session_origin.credential_id")
      .select(["credential.id", "credential.account_id", "session_origin.subject"])
      .where("session_origin.provider", "=", p.provider)
      .where("session_origin.sid", "=", p.sid),
  { bounded: "the sessions here of one session there" },
);
const bySubject = statement<{ provider: string; subject: string }>()(
  "session.by_subject",
  (db, p) =>
    db
      .selectFrom("session_origin")
      .innerJoin("credential", "credential.id", "session_origin.credential_id")
      .select(["credential.id", "credential.account_id", "session_origin.subject"])
      .where("session_origin.provider", "=", p.provider)
      .where("session_origin.subject", "=", p.subject),
  { bounded: "the sessions of one account" },
);

/** Notes who vouched for a new session. */
export async function insertSessionOrigin(tx: Executor, id: number, { provider, subject, sid, idToken }: SessionOrigin): Promise<void> {
  await tx.run(insert, { id, provider, subject, sid: sid ?? null, idToken: idToken ?? null }, 1);
}

/** Who vouched for a session; undefined for one that was begun with a password. */
export async function findSessionOrigin(executor: Executor, id: number): Promise<SessionOrigin | undefined> {
  const row = await executor.first(find, { id });
  return row === undefined
    ? undefined
    : { provider: row.provider, subject: row.subject, sid: row.sid ?? undefined, idToken: row.id_token ?? undefined };
}

/** Sessions of a provider's session, of a subject, or of both where both are named. */
export async function listProviderSessions(
  tx: Executor,
  provider: string,
  { sid, subject }: { readonly sid: string | undefined; readonly subject: string | undefined },
): Promise<EndedSession[]> {
  const rows =
    sid !== undefined
      ? await tx.all(bySid, { provider, sid })
      : subject !== undefined
        ? await tx.all(bySubject, { provider, subject })
        : [];
  return rows.filter((row) => subject === undefined || row.subject === subject).map(({ id, account_id: accountId }) => ({ id, accountId }));
}
