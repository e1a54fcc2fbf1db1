// The tables of access: projects with their members, accounts with their robots' scopes, signing keys, sign-ins. Not here: the statements
// (*-store.ts, signing-keys.ts, login-*.ts).
import {
  defineTables,
  id,
  integer,
  integerOr,
  looseText,
  nullable,
  refersTo,
  text,
  withStandard,
  type RowsOf,
} from "../platform/database/table.ts";

export const accessTables = defineTables({
  project: {
    columns: {
      id: id(),
      name: text(),
      /** `name/`: sorts projects exactly as their repositories sort, since "/" is not the smallest character of a name. */
      sort_key: text(),
      is_public: integer(),
      created_at: integer(),
      /** Its traits beyond its members, as a JSON object by their names (project-traits.ts); null if it has none. */
      traits: nullable(looseText()),
      /** Rises with each change of `traits`, also when they become null. */
      traits_revision: integerOr(0),
    },
    key: ["id"],
    unique: [["name"], ["sort_key"]],
    indexes: { project_public_in_order: "(sort_key) where is_public = 1" },
    backup: "kept",
  },
  account: {
    columns: {
      id: id(),
      kind: looseText<"user" | "robot">(),
      name: text(),
      /** Robots of a project; null for users and for robots of the whole registry. */
      project_id: nullable(refersTo("project", "deleted")),
      /** argon2id in PHC form for users, sha256 of a random secret for robots; null for accounts that sign in elsewhere. */
      secret_hash: nullable(looseText()),
      is_admin: integer(),
      is_disabled: integer(),
      /** Raised when a secret, a disablement or an expiry changes: tokens made before are refused. */
      epoch: integer(),
      expires_at: nullable(integer()),
      created_at: integer(),
    },
    key: ["id"],
    unique: [["name"]],
    indexes: {
      account_by_project: "(project_id, name) where project_id is not null",
      account_of_registry: "(kind, name) where project_id is null",
    },
    backup: "kept",
  },
  /** The roles of accounts in the whole registry, beside administrators (`account.is_admin`). */
  system_role: {
    columns: { account_id: refersTo("account", "cascade"), role: looseText() },
    key: ["account_id"],
    isClustered: true,
    backup: "kept",
  },
  /** From where accounts may be used, as a JSON object (network-rules.ts); without a row from everywhere. */
  account_networks: {
    columns: { account_id: refersTo("account", "cascade"), lists: looseText() },
    key: ["account_id"],
    isClustered: true,
    backup: "kept",
  },
  /** Users with common rights. What a provider says of them (a claim, an entry of a directory) is found by its key. */
  account_group: {
    columns: {
      id: id(),
      name: text(),
      description: looseText(),
      /** `local`, or the kind of provider: `oidc`, `ldap`. */
      source: text(),
      /** The provider's name; empty for local. */
      provider: text(),
      /** As the provider names it; null for local. */
      external_key: nullable(text()),
      /** What its members are in the whole registry; null for nothing. */
      system_role: nullable(looseText()),
      created_at: integer(),
    },
    key: ["id"],
    unique: [["name"]],
    uniqueIndexes: { account_group_external: "(source, provider, external_key) where external_key is not null" },
    backup: "kept",
  },
  group_member: {
    columns: {
      group_id: refersTo("account_group", "cascade"),
      account_id: refersTo("account", "cascade"),
      /** Who says so: `local`, or `KIND:PROVIDER`. A member by two sources stays until both have taken it back. */
      source: text(),
    },
    key: ["group_id", "account_id", "source"],
    isClustered: true,
    indexes: { group_member_of_account: "(account_id, group_id)" },
    backup: "kept",
  },
  /** Groups as members of projects. */
  project_group: {
    columns: {
      project_id: refersTo("project", "cascade"),
      group_id: refersTo("account_group", "cascade"),
      role: looseText(),
      /** What the role is narrowed to, as JSON; null for all of the project. */
      scopes: nullable(looseText()),
      /** The project's own, for lists in order. */
      project_sort_key: text(),
    },
    key: ["project_id", "group_id"],
    isClustered: true,
    indexes: { project_group_in_order: "(group_id, project_sort_key)" },
    backup: "kept",
  },
  member: {
    columns: {
      project_id: refersTo("project", "deleted"),
      account_id: refersTo("account", "deleted"),
      role: looseText<"guest" | "developer" | "maintainer" | "owner">(),
      /** The project's own, for lists in order. */
      project_sort_key: withStandard(text(), ""),
    },
    key: ["project_id", "account_id"],
    isClustered: true,
    indexes: {
      member_by_account: "(account_id, project_id)",
      member_by_project_and_role: "(project_id, role)",
      member_by_account_in_order: "(account_id, project_sort_key)",
    },
    backup: "kept",
  },
  robot_scope: {
    columns: {
      account_id: refersTo("account", "deleted"),
      /** A repository name, or a pattern with `*` at the end of a segment. */
      repository_pattern: text(),
      /** Comma-separated actions. */
      actions: looseText(),
    },
    key: ["account_id", "repository_pattern"],
    isClustered: true,
    backup: "kept",
  },
  /** Scopes of robots that may move some tags only. Programs that do not know them give no right by them. */
  robot_tag_scope: {
    columns: {
      account_id: refersTo("account", "cascade"),
      repository_pattern: text(),
      /** Comma-separated actions, and patterns of tags. */
      actions: looseText(),
      tags: looseText(),
    },
    key: ["account_id", "repository_pattern"],
    isClustered: true,
    backup: "kept",
  },
  /** Members whose role is narrowed to repositories, actions and tags: those stand in no other table. Programs that do not know them give no right. */
  narrowed_member: {
    columns: {
      project_id: refersTo("project", "cascade"),
      account_id: refersTo("account", "cascade"),
      role: looseText(),
      scopes: looseText(),
      project_sort_key: text(),
    },
    key: ["project_id", "account_id"],
    isClustered: true,
    indexes: { narrowed_member_in_order: "(account_id, project_sort_key)" },
    backup: "kept",
  },
  signing_key: {
    columns: {
      id: text(),
      algorithm: looseText(),
      /** PKCS #8 PEM, encrypted with the secret key. */
      private_key: looseText(),
      /** JWK as JSON. */
      public_key: looseText(),
      created_at: integer(),
      /** Signs until then; verifies for a token's lifetime longer. */
      signs_until: integer(),
      verifies_until: integer(),
    },
    key: ["id"],
    // Created anew if there is none.
    backup: "sealed",
  },
  login_failure: {
    columns: {
      /**
       * The subject of the guesses: `pair:NAME ADDRESS`, `address:ADDRESS`, `fresh:NAME`, `account:NAME`; or one guess, `secret:NAME
       * ADDRESS MARK`.
       */
      subject: text(),
      failures: integer(),
      window_started_at: integer(),
      locked_until: nullable(integer()),
    },
    key: ["subject"],
    indexes: { login_failure_by_age: "(window_started_at)" },
    // Guesses of the last minutes.
    backup: "left out",
  },
  /** An address from which an account logged in: a keyed hash of its name and the address. */
  login_place: {
    columns: { place: text(), account_id: refersTo("account", "cascade"), seen_at: integer() },
    key: ["place"],
    isClustered: true,
    indexes: { login_place_of_account: "(account_id, seen_at)", login_place_by_age: "(seen_at)" },
    backup: "kept",
  },
});

declare module "../platform/database/schema.ts" {
  interface Schema extends RowsOf<typeof accessTables> {}
}
