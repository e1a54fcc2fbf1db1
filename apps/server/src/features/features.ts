// The control plane's features: their rules, which every role that needs them has from the start. Not here: the rules, their routes (http/api).
import type { AccountChange } from "../access/account-changes.ts";
import type { Accounts } from "../access/accounts.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { ChangeSink } from "../access/changes.ts";
import type { IssuerKeys } from "../access/issuer-keys.ts";
import type { LoginFailures } from "../access/login-failures.ts";
import type { PasswordHasher } from "../access/secrets.ts";
import type { TokenExchange } from "../access/token-exchange.ts";
import type { Repositories } from "../content/repositories.ts";
import type { ListPlaces } from "../distribution/list-places.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Deletion } from "../platform/database/deletion.ts";
import { type AuditLog, type AuditParts, createAuditLog } from "./audit/audit.ts";
import { createUsers, type Users } from "./accounts/accounts.ts";
import { createDeletions, type Deletions } from "./deletions/deletions.ts";
import { createExplain, type Explain, type ExplainParts } from "./explain/explain.ts";
import { createDirectories, type Directories, type DirectoriesParts } from "./directories/directories.ts";
import { createGroups, type Groups } from "./groups/groups.ts";
import { createJobs, type Jobs } from "./jobs/jobs.ts";
import { createRepositoryManifests, type RepositoryManifests, type RepositoryManifestsParts } from "./manifests/manifests.ts";
import { createNetworks, type Networks } from "./networks/networks.ts";
import { createProjects, type Projects, type ProjectsParts } from "./projects/projects.ts";
import { createProjectRepositories, type ProjectRepositories } from "./repositories/repositories.ts";
import { createSearch, type Search } from "./search/search.ts";
import { createSettings, type SettingChange, type Settings, type SettingsParts } from "./settings/settings.ts";
import { createOpenUploads, type OpenUploads, type OpenUploadsParts } from "./uploads/uploads.ts";
import { createRobots, type Robots } from "./robots/robots.ts";
import { createIssuers, type Issuers } from "./issuers/issuers.ts";
import { createUserSessions, type UserSessions, type UserSessionsParts } from "./sessions/sessions.ts";
import { createTrust, type Trust } from "./trust/trust.ts";
import { createPersonalTokens, type PersonalTokens, type PersonalTokensParts } from "./tokens/tokens.ts";
import { createWebhooks, type Webhooks, type WebhooksParts } from "./webhooks/webhooks.ts";

/** What they rest on. */
export interface FeatureParts extends RepositoryManifestsParts, OpenUploadsParts, WebhooksParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly authorizer: Authorizer;
  readonly passwords: PasswordHasher;
  readonly loginFailures: LoginFailures;
  readonly directories: DirectoriesParts["directories"];
  readonly issuerKeys: IssuerKeys;
  readonly tokenExchange: TokenExchange;
  readonly authenticator: UserSessionsParts["authenticator"];
  readonly browserSessions: UserSessionsParts["sessions"];
  readonly personalTokenDays: PersonalTokensParts["personalTokenDays"];
  readonly repositories: Repositories;
  readonly places: ListPlaces;
  readonly runTimeSettings: SettingsParts["runTimeSettings"] & ExplainParts["runTimeSettings"] & ProjectsParts["runTimeSettings"];
  readonly masterKey: AuditParts["masterKey"];
  /** Who learns what becomes of accounts, memberships and projects. */
  readonly changes: ChangeSink<AccountChange | SettingChange>;
  /** Of what refers to a project and to an account. */
  readonly deletions: Readonly<Record<"project" | "account", Deletion>>;
}

/** All of them. */
export interface Features {
  readonly projects: Projects;
  readonly projectRepositories: ProjectRepositories;
  readonly manifests: RepositoryManifests;
  readonly deletions: Deletions;
  readonly uploads: OpenUploads;
  readonly users: Users;
  readonly groups: Groups;
  readonly robots: Robots;
  readonly directories: Directories;
  readonly issuers: Issuers;
  readonly trust: Trust;
  readonly sessions: UserSessions;
  readonly tokens: PersonalTokens;
  readonly webhooks: Webhooks;
  readonly networks: Networks;
  readonly jobs: Jobs;
  readonly settings: Settings;
  readonly audit: AuditLog;
  readonly explain: Explain;
  readonly search: Search;
}

/** Creates the features. */
export function createFeatures(parts: FeatureParts): Features {
  return {
    projects: createProjects(parts),
    projectRepositories: createProjectRepositories(parts),
    manifests: createRepositoryManifests(parts),
    deletions: createDeletions(parts),
    uploads: createOpenUploads(parts),
    users: createUsers(parts),
    groups: createGroups(parts),
    robots: createRobots(parts),
    directories: createDirectories(parts),
    issuers: createIssuers(parts),
    trust: createTrust(parts),
    sessions: createUserSessions({ ...parts, sessions: parts.browserSessions }),
    tokens: createPersonalTokens(parts),
    webhooks: createWebhooks(parts),
    networks: createNetworks(parts),
    jobs: createJobs(parts),
    settings: createSettings(parts),
    audit: createAuditLog(parts),
    explain: createExplain(parts),
    search: createSearch(parts),
  };
}
