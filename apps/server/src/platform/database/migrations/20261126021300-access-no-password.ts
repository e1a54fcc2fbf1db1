// Accounts without a password of their own: those of people who sign in elsewhere. Programs that do not know such accounts refuse their
// passwords with the same amount of work, because the placeholder hash matches no password.
import type { Migration } from "./migration.ts";

/** The form of a hash that older programs require in the column; it matches no password. */
const FITS_NO_PASSWORD = `$argon2id$v=19$m=19456,t=2,p=1$${"A".repeat(22)}$${"A".repeat(43)}`;
const FITS_NO_SECRET = `sha256:${"0".repeat(64)}`;

export const noPassword: Migration = {
  id: 20261126021300,
  name: "access/no-password",
  oldestProgram: 3,
  loses: { what: "which accounts have no password of their own: they get one that nobody knows", content: [] },
  up: () => ["alter table account alter column secret_hash drop not null"],
  down: () => [
    `update account set secret_hash = case kind when 'robot' then '${FITS_NO_SECRET}' else '${FITS_NO_PASSWORD}' end where secret_hash is null`,
    "alter table account alter column secret_hash set not null",
  ],
};
