// The table of outside identities: who somebody is at a provider of sign-ins, and whose account that is here. Not here: the statements
// (identity-store.ts), what a sign-in does with them (outside-identities.ts).
import { defineTables, integer, looseText, nullable, refersTo, text, type RowsOf } from "../platform/database/table.ts";

export const identityTables = defineTables({
  outside_identity: {
    columns: {
      kind: text<"oidc" | "ldap">(),
      /** The provider's name here. */
      provider: text(),
      /** What the provider calls somebody and never gives to another: `sub`, an entry's UUID. */
      subject: text(),
      account_id: refersTo("account", "cascade"),
      /** Which directory or issuer it was: under another one the same subject is somebody else. */
      realm: looseText(),
      email: nullable(looseText()),
      /** The name that people are called by. */
      full_name: nullable(looseText()),
      created_at: integer(),
      /** Right within an hour. */
      seen_at: integer(),
    },
    key: ["kind", "provider", "subject"],
    isClustered: true,
    indexes: { outside_identity_of_account: "(account_id)" },
    backup: "kept",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof identityTables> {}
}
