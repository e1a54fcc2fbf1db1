// The tables of signing in with a browser: by which outside identity a session was begun, what was used once, and devices that wait for somebody to
// approve them. Not here: sessions themselves (credential-tables.ts), the statements (session-store.ts).
import { defineTables, id, integer, looseText, nullable, refersTo, text, type RowsOf } from "../platform/database/table.ts";

export const signInTables = defineTables({
  /** Sessions that an OpenID provider vouched for: a logout there ends them. */
  session_origin: {
    columns: {
      credential_id: refersTo("credential", "cascade"),
      provider: text(),
      subject: text(),
      /** The provider's session, where it named it. */
      sid: nullable(text()),
      /** The ID token, sealed: a logout here shows it there. */
      id_token: nullable(looseText()),
    },
    key: ["credential_id"],
    isClustered: true,
    indexes: { session_origin_by_subject: "(provider, subject)", session_origin_by_sid: "(provider, sid) where sid is not null" },
    backup: "kept",
  },
  /** What counts once: a hash of it, until it would have ended anyway. */
  used_mark: {
    columns: { mark: text(), ends_at: integer() },
    key: ["mark"],
    isClustered: true,
    indexes: { used_mark_by_end: "(ends_at)" },
    // Minutes old at the most.
    backup: "left out",
  },
  /** Programs on devices without a browser that ask for a token. Source: RFC 8628. */
  device_login: {
    columns: {
      id: id(),
      /** sha256 of the code that the device keeps. */
      device_hash: text(),
      /** What its user types: eight letters. */
      user_code: text(),
      /** What the program calls itself. */
      client: looseText(),
      /** What the token is to let through, as `credential.bound` has it; always given. */
      bound: nullable(looseText()),
      lifetime_ms: integer(),
      /** From where it was asked. */
      address: looseText(),
      created_at: integer(),
      expires_at: integer(),
      polled_at: integer(),
      state: looseText<"waiting" | "approved" | "denied">(),
      /** Who approved or denied it, and the account's epoch then. */
      account_id: nullable(refersTo("account", "cascade")),
      epoch: nullable(integer()),
    },
    key: ["id"],
    unique: [["device_hash"], ["user_code"]],
    indexes: { device_login_by_expiry: "(expires_at)", device_login_of_account: "(account_id)" },
    // Minutes old at the most.
    backup: "left out",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof signInTables> {}
}
