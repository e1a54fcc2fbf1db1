// Who people are at providers of sign-ins. Programs that do not know the table delete accounts all the same: their identities go with them.
import type { Migration } from "./migration.ts";

export const outsideIdentities: Migration = {
  id: 20261126104500,
  name: "access/outside-identities",
  oldestProgram: 3,
  loses: {
    what: "whose account is whose at a provider of sign-ins: people who sign in later get new accounts",
    content: ["outside_identity"],
  },
  up: ({ text, integer, clustered }) => [
    `create table outside_identity (
      kind ${text} not null,
      provider ${text} not null,
      subject ${text} not null,
      account_id ${integer} not null references account (id) on delete cascade,
      realm text not null,
      email text,
      full_name text,
      created_at ${integer} not null,
      seen_at ${integer} not null,
      primary key (kind, provider, subject)) ${clustered}`,
    `create index outside_identity_of_account on outside_identity (account_id)`,
  ],
  down: () => ["drop table outside_identity"],
};
