// The list of all operations: what the OpenAPI document shows and the server must answer. Not here: the operations themselves.
import * as directories from "./directories.ts";
import * as issuers from "./issuers.ts";
import * as audit from "./audit.ts";
import { explainAccess } from "./explain.ts";
import * as deletions from "./deletions.ts";
import * as groups from "./groups.ts";
import * as jobs from "./jobs.ts";
import type { Operation } from "./operation.ts";
import * as manifests from "./manifests.ts";
import { projectNetworks, projectRobotNetworks, registryRobotNetworks } from "./networks.ts";
import * as projects from "./projects.ts";
import { projectRobots, registryRobots } from "./robots.ts";
import * as repositories from "./repositories.ts";
import * as sessions from "./sessions.ts";
import { search } from "./search.ts";
import * as settings from "./settings.ts";
import { projectTrust, registryTrust } from "./trust.ts";
import * as uploads from "./uploads.ts";
import * as tokens from "./tokens.ts";
import * as users from "./users.ts";
import { projectWebhooks, registryWebhooks } from "./webhooks.ts";

/** Every operation, in the order of the document. */
export const OPERATIONS: readonly Operation[] = [
  explainAccess,
  search,
  projects.listProjects,
  projects.createProject,
  projects.getProject,
  projects.updateProject,
  projects.transferProject,
  projects.deleteProject,
  projects.listMembers,
  projects.putMember,
  projects.deleteMember,
  ...Object.values(projectNetworks),
  ...Object.values(projectRobotNetworks),
  ...Object.values(registryRobotNetworks),
  repositories.listRepositories,
  repositories.exportRepositories,
  repositories.getRepository,
  repositories.deleteRepository,
  repositories.getUsage,
  uploads.listUploads,
  uploads.cancelUpload,
  manifests.listTags,
  manifests.listTagHistory,
  manifests.deleteTag,
  manifests.listManifests,
  manifests.getManifest,
  manifests.getManifestContent,
  manifests.deleteManifest,
  deletions.createDeletionPlan,
  deletions.getDeletionPlan,
  deletions.listDeletionItems,
  deletions.runDeletionPlan,
  deletions.cancelDeletionPlan,
  users.listUsers,
  users.createUser,
  users.getMe,
  users.changeMyPassword,
  users.getUser,
  users.updateUser,
  users.deleteUser,
  groups.listGroups,
  groups.createGroup,
  groups.getGroup,
  groups.updateGroup,
  groups.deleteGroup,
  groups.listGroupMembers,
  groups.addGroupMember,
  groups.removeGroupMember,
  groups.listProjectGroups,
  groups.putProjectGroup,
  groups.deleteProjectGroup,
  sessions.createSession,
  sessions.endSession,
  sessions.listMySessions,
  sessions.endMySession,
  sessions.endMySessions,
  sessions.listUserSessions,
  sessions.endUserSession,
  sessions.endUserSessions,
  tokens.listMyTokens,
  tokens.createMyToken,
  tokens.revokeMyToken,
  tokens.listUserTokens,
  tokens.revokeUserToken,
  ...Object.values(projectRobots),
  ...Object.values(registryRobots),
  directories.listDirectories,
  directories.testDirectory,
  issuers.listIssuers,
  issuers.createIssuer,
  issuers.getIssuer,
  issuers.updateIssuer,
  issuers.fetchIssuerKeys,
  issuers.deleteIssuer,
  ...Object.values(projectTrust),
  ...Object.values(registryTrust),
  ...Object.values(projectWebhooks),
  ...Object.values(registryWebhooks),
  jobs.listJobs,
  jobs.getJob,
  jobs.cancelJob,
  jobs.retryJob,
  jobs.followJob,
  audit.listAudit,
  audit.listProjectAudit,
  audit.exportAudit,
  audit.listAuditSegments,
  audit.verifyAudit,
  settings.listSettings,
  settings.updateSettings,
];
