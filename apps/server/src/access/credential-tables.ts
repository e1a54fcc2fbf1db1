// The table of what accounts sign in with besides their password or robot secret. Not here: the statements (credential-store.ts).
import { defineTables, id, integer, looseText, nullable, refersTo, text, type RowsOf } from "../platform/database/table.ts";

export const credentialTables = defineTables({
  /** Random secrets of accounts: 100 of a kind at most (`MAX_CREDENTIALS`), so that they go with their account at once. */
  credential: {
    columns: {
      id: id(),
      account_id: refersTo("account", "cascade"),
      kind: looseText<"personal" | "refresh" | "session" | "robot" | "link">(),
      /** What its owner calls it; of a refresh token the client that asked for it, of a session the browser. */
      name: looseText(),
      /** sha256 of the secret. */
      secret_hash: text(),
      /** What it lets its account do at the most, as JSON; null where that is all that the account may. */
      bound: nullable(looseText()),
      /** It counts as long as its account has this epoch; null where it outlives a new password. */
      epoch: nullable(integer()),
      created_at: integer(),
      /** Its end, where it is in use. */
      ends_at: integer(),
      /** Its end as of now: moved on to `ends_at` by those that end when they are not used. */
      expires_at: integer(),
      last_used_at: nullable(integer()),
      /** From where. */
      last_address: nullable(looseText()),
    },
    key: ["id"],
    unique: [["secret_hash"]],
    indexes: { credential_of_account: "(account_id, id)", credential_by_expiry: "(expires_at)" },
    backup: "kept",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof credentialTables> {}
}
