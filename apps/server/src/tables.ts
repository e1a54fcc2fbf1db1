// All tables of the database, as their owners declare them. Not here: the migrations that create them, the form of a column
// (platform/database/table.ts).
import { accessTables } from "./access/access-tables.ts";
import { trustTables } from "./access/trust-tables.ts";
import { signInTables } from "./access/sign-in-tables.ts";
import { identityTables } from "./access/identity-tables.ts";
import { credentialTables } from "./access/credential-tables.ts";
import { contentTables } from "./content/content-tables.ts";
import { eventTables } from "./events/event-tables.ts";
import { profileTables } from "./features/projects/profile-tables.ts";
import { deletionTables } from "./features/deletions/deletion-tables.ts";
import { auditTables } from "./features/audit/audit-tables.ts";
import { settingTables } from "./features/settings/setting-tables.ts";
import { webhookTables } from "./features/webhooks/webhook-tables.ts";
import { platformTables } from "./platform/database/schema.ts";
import { createDeletion } from "./platform/database/deletion.ts";
import type { Tables } from "./platform/database/table.ts";

export const TABLES: Tables = {
  ...platformTables,
  ...deletionTables,
  ...profileTables,
  ...accessTables,
  ...credentialTables,
  ...identityTables,
  ...signInTables,
  ...trustTables,
  ...contentTables,
  ...eventTables,
  ...settingTables,
  ...auditTables,
  ...webhookTables,
};

/** Deletes everything that refers to a project, an account or a repository, in any table. */
export const DELETIONS = {
  project: createDeletion(TABLES, "project"),
  account: createDeletion(TABLES, "account"),
  repository: createDeletion(TABLES, "repository"),
};
