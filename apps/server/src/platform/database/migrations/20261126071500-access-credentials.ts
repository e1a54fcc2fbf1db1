// Personal tokens, refresh tokens, sessions and one-time links: random secrets of accounts. Programs that do not know the table delete accounts all
// the same: what they signed in with goes with them.
import type { Migration } from "./migration.ts";

export const accessCredentials: Migration = {
  id: 20261126071500,
  name: "access/credentials",
  oldestProgram: 3,
  loses: { what: "personal tokens, refresh tokens, sessions and links for passwords", content: ["credential"] },
  up: ({ text, integer, id }) => [
    `create table credential (
      id ${id},
      account_id ${integer} not null references account (id) on delete cascade,
      kind text not null,
      name text not null,
      secret_hash ${text} not null,
      bound text,
      epoch ${integer},
      created_at ${integer} not null,
      ends_at ${integer} not null,
      expires_at ${integer} not null,
      last_used_at ${integer},
      last_address text,
      unique (secret_hash))`,
    `create index credential_of_account on credential (account_id, id)`,
    `create index credential_by_expiry on credential (expires_at)`,
  ],
  down: () => [`drop table credential`],
};
