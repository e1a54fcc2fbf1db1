// Login places: where accounts logged in, so that their owners are not locked out there by other people's guesses. Programs that do not
// know the table can still delete accounts: the places are deleted with them.
import type { Migration } from "./migration.ts";

export const loginPlaces: Migration = {
  id: 9,
  name: "login-places",
  oldestProgram: 3,
  loses: { what: "where accounts logged in, which their next logins fill anew", content: [] },
  up: ({ text, integer, clustered }) => [
    `create table login_place (
      place ${text} primary key,
      account_id ${integer} not null references account (id) on delete cascade,
      seen_at ${integer} not null) ${clustered}`,
    `create index login_place_of_account on login_place (account_id, seen_at)`,
    `create index login_place_by_age on login_place (seen_at)`,
  ],
  down: () => [`drop table login_place`],
};
