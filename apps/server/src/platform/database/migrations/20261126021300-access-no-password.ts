// Accounts without a password of their own: those of people whom somebody else signs in. Programs that do not know that there are such refuse their
// passwords by the same work all the same: a hash that is not there is compared with one that fits nothing.
import type { Migration } from "./migration.ts";

/** What older programs demand of a column with a hash; no password has it. */
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
