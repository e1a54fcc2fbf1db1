// The permission that each operation of the control plane needs, and a well-formed body: the rows of the access matrix, one for each
// operation, written from the documentation. Not here: the callers, and the comparison (access-matrix.test.ts).

/** The password of everyone in the matrix. */
export const PASSWORD = "matrix-test-password";

/** Who may use an operation. */
export type Level =
  | "anyone"
  | "account"
  | "user"
  | "administrator"
  | "auditor"
  | "creator"
  | "reader"
  | "member"
  | "keeper"
  | "keeper-reads"
  | "owner";
/**
 * The permission of each operation. `auditor`, `creator`: administrators as well; `reader`: may read the project; `keeper`: maintainer at
 * least, and to read it auditors.
 */
export const LEVELS: Record<string, Level> = {
  listProjects: "anyone",
  createProject: "creator",
  getProject: "reader",
  updateProject: "owner",
  deleteProject: "owner",
  listRepositories: "reader",
  exportRepositories: "reader",
  listTags: "reader",
  listTagHistory: "reader",
  listManifests: "reader",
  getManifest: "reader",
  getManifestContent: "reader",
  deleteTag: "keeper",
  deleteManifest: "keeper",
  createDeletionPlan: "keeper",
  getDeletionPlan: "keeper",
  listDeletionItems: "keeper",
  runDeletionPlan: "keeper",
  cancelDeletionPlan: "keeper",
  getRepository: "reader",
  deleteRepository: "keeper",
  listMembers: "member",
  putMember: "owner",
  deleteMember: "owner",
  listUsers: "auditor",
  createUser: "administrator",
  getMe: "account",
  changeMyPassword: "user",
  getUser: "auditor",
  updateUser: "administrator",
  deleteUser: "administrator",
  listMyTokens: "user",
  createMyToken: "user",
  revokeMyToken: "user",
  listUserTokens: "auditor",
  revokeUserToken: "administrator",
  listProjectRobots: "keeper-reads",
  createProjectRobot: "owner",
  getProjectRobot: "keeper-reads",
  updateProjectRobot: "owner",
  rotateProjectRobotSecret: "owner",
  deleteProjectRobot: "owner",
  listRegistryRobots: "auditor",
  createRegistryRobot: "administrator",
  getRegistryRobot: "auditor",
  updateRegistryRobot: "administrator",
  rotateRegistryRobotSecret: "administrator",
  deleteRegistryRobot: "administrator",
  listIssuers: "user",
  createIssuer: "administrator",
  getIssuer: "user",
  updateIssuer: "administrator",
  fetchIssuerKeys: "administrator",
  deleteIssuer: "administrator",
  listProjectRobotTrustRules: "keeper-reads",
  putProjectRobotTrustRule: "owner",
  deleteProjectRobotTrustRule: "owner",
  testProjectRobotToken: "owner",
  listRegistryRobotTrustRules: "auditor",
  putRegistryRobotTrustRule: "administrator",
  deleteRegistryRobotTrustRule: "administrator",
  testRegistryRobotToken: "administrator",
  getUsage: "auditor",
  listUploads: "auditor",
  cancelUpload: "administrator",
  listJobs: "auditor",
  getJob: "auditor",
  cancelJob: "administrator",
  retryJob: "administrator",
  followJob: "auditor",
  listGroups: "auditor",
  createGroup: "administrator",
  getGroup: "auditor",
  updateGroup: "administrator",
  deleteGroup: "administrator",
  listGroupMembers: "auditor",
  addGroupMember: "administrator",
  removeGroupMember: "administrator",
  listProjectGroups: "member",
  putProjectGroup: "owner",
  deleteProjectGroup: "owner",
  listAudit: "auditor",
  listProjectAudit: "keeper-reads",
  exportAudit: "auditor",
  listAuditSegments: "auditor",
  verifyAudit: "auditor",
  listSettings: "auditor",
  updateSettings: "administrator",
};
const TRUST_RULE = { issuer: "nobody", conditions: [{ claim: "sub", equals: "x" }] };

/** Well-formed bodies that change nothing: what they name does not exist, or exists already. */
export const BODIES: Record<string, (project: string) => unknown> = {
  createProject: () => ({ name: "own" }),
  updateProject: () => ({}),
  createDeletionPlan: () => ({ action: "untag", tags: ["nobody"] }),
  putMember: () => ({ role: "guest" }),
  createUser: () => ({ name: "guest", password: PASSWORD }),
  changeMyPassword: () => ({ currentPassword: "not the password", newPassword: PASSWORD }),
  updateUser: () => ({}),
  createMyToken: () => ({ name: "ci", scopes: [{ repositories: "own", actions: ["pull"] }] }),
  updateSettings: () => ({}),
  createGroup: () => ({ name: "crew" }),
  updateGroup: () => ({}),
  putProjectGroup: () => ({ role: "guest" }),
  createProjectRobot: (project) => ({
    name: { own: "puller", oth: "there" }[project] ?? "one",
    scopes: [{ repositories: `${project}/x`, actions: ["pull"] }],
  }),
  updateProjectRobot: () => ({}),
  createRegistryRobot: () => ({ name: "all", scopes: [{ repositories: "**", actions: ["pull"] }] }),
  updateRegistryRobot: () => ({}),
  createIssuer: () => ({ name: "nobody", url: "ftp://not.allowed", audiences: ["x"] }),
  updateIssuer: () => ({}),
  putProjectRobotTrustRule: () => TRUST_RULE,
  testProjectRobotToken: () => ({ token: "x" }),
  putRegistryRobotTrustRule: () => TRUST_RULE,
  testRegistryRobotToken: () => ({ token: "x" }),
};
