// Signing in with a browser: which provider a session is of, what was used once, and devices that wait for approval. Programs that do not know the
// tables leave them alone; what ended in them is deleted by those that do.
import type { Migration } from "./migration.ts";

export const signIn: Migration = {
  id: 20261126110500,
  name: "access/sign-in",
  oldestProgram: 3,
  loses: {
    what: "which sessions a logout at their provider ends, and logins of devices that are under way",
    content: ["session_origin", "device_login"],
  },
  up: ({ id, text, integer, clustered }) => [
    `create table session_origin (
      credential_id ${integer} not null primary key references credential (id) on delete cascade,
      provider ${text} not null,
      subject ${text} not null,
      sid ${text},
      id_token text) ${clustered}`,
    `create index session_origin_by_subject on session_origin (provider, subject)`,
    `create index session_origin_by_sid on session_origin (provider, sid) where sid is not null`,
    `create table used_mark (mark ${text} not null primary key, ends_at ${integer} not null) ${clustered}`,
    `create index used_mark_by_end on used_mark (ends_at)`,
    `create table device_login (
      id ${id},
      device_hash ${text} not null unique,
      user_code ${text} not null unique,
      client text not null,
      bound text,
      lifetime_ms ${integer} not null,
      address text not null,
      created_at ${integer} not null,
      expires_at ${integer} not null,
      polled_at ${integer} not null,
      state text not null,
      account_id ${integer} references account (id) on delete cascade,
      epoch ${integer})`,
    `create index device_login_by_expiry on device_login (expires_at)`,
    `create index device_login_of_account on device_login (account_id)`,
  ],
  down: () => ["drop table device_login", "drop table used_mark", "drop table session_origin"],
};
