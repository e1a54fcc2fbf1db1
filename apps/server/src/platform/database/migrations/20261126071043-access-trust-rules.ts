// Trust in tokens of other issuers: which issuers, which token becomes which robot, which tokens were used up. Not here: what is in them (access/).
import type { Migration } from "./migration.ts";

export const trustRules: Migration = {
  id: 20261126071043,
  name: "access/trust-rules",
  oldestProgram: 3,
  loses: {
    what: "issuers of tokens and the trust rules of robots: what signs in by them has no other way in",
    content: ["oidc_issuer", "trust_rule"],
  },
  up: ({ id, integer, text, clustered }) => [
    `create table oidc_issuer (
      id ${id},
      name ${text} not null unique,
      url ${text} not null,
      audiences text not null,
      algorithms text not null,
      is_disabled ${integer} not null,
      is_single_use ${integer} not null,
      has_given_keys ${integer} not null,
      keys text,
      keys_at ${integer},
      keys_tried_at ${integer},
      keys_error text,
      created_at ${integer} not null
    )`,
    `create index oidc_issuer_by_url on oidc_issuer (url)`,
    `create table trust_rule (
      account_id ${integer} not null references account (id) on delete cascade,
      name ${text} not null,
      issuer_id ${integer} not null references oidc_issuer (id),
      conditions text not null,
      anchor ${text},
      created_at ${integer} not null,
      primary key (account_id, name)
    )${clustered}`,
    `create index trust_rule_by_anchor on trust_rule (issuer_id, anchor)`,
    `create table used_id_token (
      issuer_id ${integer} not null references oidc_issuer (id) on delete cascade,
      mark ${text} not null,
      ends_at ${integer} not null,
      primary key (issuer_id, mark)
    )${clustered}`,
    `create index used_id_token_by_end on used_id_token (ends_at)`,
  ],
  down: () => ["drop table used_id_token", "drop table trust_rule", "drop table oidc_issuer"],
};
