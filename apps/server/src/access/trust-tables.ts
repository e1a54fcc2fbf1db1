// The tables of trust: issuers whose tokens count, rules that say which token becomes which robot, tokens that were used up.
// Not here: the statements (issuer-store.ts, trust-store.ts), what conditions mean (trust-rules.ts).
import { defineTables, id, integer, looseText, nullable, refersTo, text, type RowsOf } from "../platform/database/table.ts";

export const trustTables = defineTables({
  oidc_issuer: {
    columns: {
      id: id(),
      name: text(),
      /** As tokens name it in `iss`. Several may have one address: clusters are often set up so; each has keys of its own. */
      url: text(),
      /** JSON: a token must name one of them. */
      audiences: looseText(),
      /** JSON: signatures that are taken. */
      algorithms: looseText(),
      is_disabled: integer(),
      /** Whether each token counts once only. */
      is_single_use: integer(),
      /** 1: an administrator gave the keys, and nothing is fetched. */
      has_given_keys: integer(),
      /** Its keys as a JSON list; null before any were found. */
      keys: nullable(looseText()),
      /** When they were given or last fetched. */
      keys_at: nullable(integer()),
      /** When they were last asked for: not more often than every half minute, however many replicas there are. */
      keys_tried_at: nullable(integer()),
      /** Why the last try failed; null where it did not. */
      keys_error: nullable(looseText()),
      created_at: integer(),
    },
    key: ["id"],
    unique: [["name"]],
    indexes: { oidc_issuer_by_url: "(url)" },
    backup: "kept",
  },
  trust_rule: {
    columns: {
      /** The robot that a token becomes. */
      account_id: refersTo("account", "cascade"),
      name: text(),
      issuer_id: refersTo("oidc_issuer", "refuses"),
      /** JSON. */
      conditions: looseText(),
      /** `claim=value` of one condition, by which the rules are found that a token may meet; null where none has one exact value. */
      anchor: nullable(text()),
      created_at: integer(),
    },
    key: ["account_id", "name"],
    isClustered: true,
    indexes: { trust_rule_by_anchor: "(issuer_id, anchor)" },
    backup: "kept",
  },
  /** Tokens of issuers whose tokens count once, until they end. */
  used_id_token: {
    columns: { issuer_id: refersTo("oidc_issuer", "cascade"), mark: text(), ends_at: integer() },
    key: ["issuer_id", "mark"],
    isClustered: true,
    indexes: { used_id_token_by_end: "(ends_at)" },
    // Of the last minutes.
    backup: "left out",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof trustTables> {}
}
