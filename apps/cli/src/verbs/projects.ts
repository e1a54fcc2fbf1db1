// Verbs on projects, members, users and robots. Not here: running them (../call.ts).
import * as projects from "@berth/api/projects";
import { projectRobots, registryRobots } from "@berth/api/robots";
import * as users from "@berth/api/users";
import { sizeText, timeText } from "../print.ts";
import type { CallVerb, Column, Option } from "../verb.ts";
import { PROJECT, ROBOT, USER } from "./arguments.ts";

const createdAt: Column = { title: "CREATED", of: ({ createdAt }: { createdAt: string }) => timeText(createdAt), wide: true };
const PROJECT_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "VISIBILITY", of: "visibility" },
  { title: "YOUR ROLE", of: "role" },
  { title: "REPOSITORIES", of: "usage.repositories" },
  { title: "TAGS", of: "usage.tags" },
  { title: "SIZE", of: ({ usage }: { usage: { sizeBytes: number } }) => sizeText(usage.sizeBytes) },
  { title: "DESCRIPTION", of: "description", wide: true },
  { title: "CONTACT", of: "contact", wide: true },
  {
    title: "LABELS",
    of: ({ labels }: { labels: readonly { key: string; value: string }[] }) =>
      labels.map(({ key, value }) => `${key}=${value}`).join(",") || "-",
    wide: true,
  },
  { title: "MANIFESTS", of: "usage.manifests", wide: true },
  { title: "BLOBS", of: "usage.blobs", wide: true },
  createdAt,
];
/** What a role is narrowed to. Not for wide tables alone: a role without it says more than its holder may do. */
export const ONLY_COLUMN: Column = {
  title: "ONLY",
  of: ({ scopes }: { scopes?: readonly Scope[] }) => scopesText(scopes ?? []) || "-",
};
const MEMBER_COLUMNS: readonly Column[] = [{ title: "USER", of: "user" }, { title: "ROLE", of: "role" }, ONLY_COLUMN];
const USER_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "SYSTEM ROLE", of: "systemRole" },
  { title: "DISABLED", of: "isDisabled" },
  { title: "PASSWORD", of: "hasPassword", wide: true },
  createdAt,
];
interface Scope {
  readonly repositories: string;
  readonly actions: readonly string[];
  readonly tags?: readonly string[];
}
function scopesText(scopes: readonly Scope[]): string {
  return scopes
    .map(({ repositories, actions, tags }) => [repositories, actions.join(","), ...(tags === undefined ? [] : [tags.join(",")])].join(":"))
    .join(" ");
}
const ROBOT_COLUMNS: readonly Column[] = [
  { title: "LOGIN", of: "login" },
  {
    title: "SCOPES",
    of: ({ scopes }: { scopes: readonly Scope[] }) => scopesText(scopes),
  },
  { title: "DISABLED", of: "isDisabled" },
  { title: "EXPIRES", of: ({ expiresAt }: { expiresAt: string | null }) => (expiresAt === null ? "never" : timeText(expiresAt)) },
  createdAt,
];
const SECRET_COLUMNS: readonly Column[] = [...ROBOT_COLUMNS, { title: "SECRET", of: "secret" }];
const SCOPE: Option = {
  name: "scope",
  kind: "scope",
  into: "body.scopes",
  value: "PATTERN:ACTION,…",
  help: "what the robot may do, such as team/**:pull,push or team/**:push:dev-* for some tags only; can be given several times",
};
/** Narrows a role. */
export const ONLY: Option = {
  name: "only",
  kind: "scope",
  into: "body.scopes",
  value: "PATTERN:ACTION,…",
  help: "what of the project the role is for, such as team/app:pull,push:dev-*; can be given several times",
};
const EXPIRES: Option = {
  name: "expires",
  kind: "time",
  into: "body.expiresAt",
  value: "TIME",
  help: "when it ends: 90d, 12h, 2027-12-31T00:00:00Z or never",
};
const VISIBILITY: Option = { name: "visibility", kind: "text", into: "body.visibility", help: "who may pull" };
const PROFILE: readonly Option[] = [
  { name: "description", kind: "text", into: "body.description", value: "TEXT", help: "what the project is for" },
  { name: "contact", kind: "text", into: "body.contact", value: "TEXT", help: "whom to write to about it" },
  { name: "label", kind: "label", into: "body.labels", value: "KEY=VALUE", help: "a label; several times: these and no other" },
];
const SYSTEM_ROLE: Option = {
  name: "system-role",
  kind: "text",
  into: "body.systemRole",
  help: "what the user is in the whole registry",
};
const DISABLE: readonly Option[] = [
  { name: "disable", kind: "true", into: "body.isDisabled", help: "keep the account from logging in" },
  { name: "enable", kind: "false", into: "body.isDisabled", help: "let it log in again" },
];

/** Verbs on projects and their members. */
export const PROJECT_VERBS: readonly CallVerb[] = [
  {
    words: "project list",
    summary: "List the projects that you may see",
    operations: [projects.listProjects],
    arguments: [],
    options: [],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "project show",
    summary: "Show a project",
    operations: [projects.getProject],
    arguments: [PROJECT],
    options: [],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "project create",
    summary: "Create a project; you become its owner",
    operations: [projects.createProject],
    arguments: [{ ...PROJECT, into: "body.name" }],
    options: [VISIBILITY, ...PROFILE],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "project update",
    summary: "Change who may pull from a project, or what it says of itself",
    operations: [projects.updateProject],
    arguments: [PROJECT],
    options: [
      VISIBILITY,
      ...PROFILE,
      { name: "no-description", kind: "none", into: "body.description", help: "take the description back" },
      { name: "no-contact", kind: "none", into: "body.contact", help: "take the contact back" },
    ],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "project transfer",
    summary: "Make another user the owner of a project, and step back",
    operations: [projects.transferProject],
    arguments: [PROJECT, { name: "USER", kind: "text", into: "body.to", help: "who becomes owner" }],
    options: [
      { name: "from", kind: "text", into: "body.from", value: "USER", help: "the owner who steps back: you, where it is not given" },
      { name: "role", kind: "text", into: "body.role", help: "what that one is afterwards: maintainer, where it is not given" },
      { name: "leave", kind: "none", into: "body.role", help: "that one is no member afterwards" },
    ],
    columns: PROJECT_COLUMNS,
    destroys: "Hand the project over to {}?",
  },
  {
    words: "project delete",
    summary: "Delete a project that has no repositories, with its members and robots",
    operations: [projects.deleteProject],
    arguments: [PROJECT],
    options: [],
    columns: [],
    destroys: "Delete the project {} with its members and robots?",
    done: "The project {} is deleted.",
  },
  {
    words: "member list",
    summary: "List the members of a project",
    operations: [projects.listMembers],
    arguments: [PROJECT],
    options: [],
    columns: MEMBER_COLUMNS,
  },
  {
    words: "member set",
    summary: "Make a user a member, or change a member's role",
    operations: [projects.putMember],
    arguments: [PROJECT, USER],
    options: [{ name: "role", kind: "text", into: "body.role", help: "what the member may do", required: true }, ONLY],
    columns: MEMBER_COLUMNS,
  },
  {
    words: "member remove",
    summary: "End a membership",
    operations: [projects.deleteMember],
    arguments: [PROJECT, USER],
    options: [],
    columns: [],
    destroys: "End the membership of {}?",
    done: "{} is no member any more.",
  },
];

/** Verbs on users. */
export const USER_VERBS: readonly CallVerb[] = [
  { words: "user list", summary: "List the users", operations: [users.listUsers], arguments: [], options: [], columns: USER_COLUMNS },
  { words: "user show", summary: "Show a user", operations: [users.getUser], arguments: [USER], options: [], columns: USER_COLUMNS },
  {
    words: "user create",
    summary: "Create a user; the password is asked for",
    operations: [users.createUser],
    arguments: [{ ...USER, into: "body.name" }],
    options: [
      { name: "admin", kind: "true", into: "body.isAdmin", help: "make the user an administrator" },
      SYSTEM_ROLE,
      { name: "no-password", kind: "none", into: "body.password", help: "the user has no password here, and cannot sign in with one" },
    ],
    columns: USER_COLUMNS,
    password: "required",
  },
  {
    words: "user update",
    summary: "Change a user's password, disable a user, or change the role in the registry",
    operations: [users.updateUser],
    arguments: [USER],
    options: [
      { name: "admin", kind: "true", into: "body.isAdmin", help: "make the user an administrator" },
      { name: "no-admin", kind: "false", into: "body.isAdmin", help: "the user is no administrator any more" },
      SYSTEM_ROLE,
      { name: "no-system-role", kind: "none", into: "body.systemRole", help: "the user has no role in the whole registry any more" },
      ...DISABLE,
      { name: "no-password", kind: "none", into: "body.password", help: "take the user's password away" },
    ],
    columns: USER_COLUMNS,
    password: "optional",
  },
  {
    words: "user delete",
    summary: "Delete a user with all memberships",
    operations: [users.deleteUser],
    arguments: [USER],
    options: [],
    columns: [],
    destroys: "Delete the user {} with all memberships?",
    done: "The user {} is deleted.",
  },
];

/** Verbs on robots, of a project and of the registry. */
export const ROBOT_VERBS: readonly CallVerb[] = [
  {
    words: "robot list",
    summary: "List the robots of a project, or those of the registry where no project is given",
    operations: [projectRobots.list, registryRobots.list],
    arguments: [{ ...PROJECT, optional: true }],
    options: [],
    columns: ROBOT_COLUMNS,
  },
  {
    words: "robot show",
    summary: "Show a robot",
    operations: [projectRobots.get, registryRobots.get],
    arguments: [ROBOT],
    options: [],
    columns: ROBOT_COLUMNS,
  },
  {
    words: "robot create",
    summary: "Create a robot; its secret is printed this once",
    operations: [projectRobots.create, registryRobots.create],
    arguments: [{ ...ROBOT, into: "body.name" }],
    options: [
      { ...SCOPE, required: true },
      EXPIRES,
      {
        name: "no-secret",
        kind: "true",
        into: "body.withoutSecret",
        help: "it gets none, and signs in by its trust rules: see berth trust set",
      },
    ],
    columns: SECRET_COLUMNS,
  },
  {
    words: "robot update",
    summary: "Change what a robot may do or when it ends, or disable it",
    operations: [projectRobots.update, registryRobots.update],
    arguments: [ROBOT],
    options: [SCOPE, EXPIRES, ...DISABLE],
    columns: ROBOT_COLUMNS,
  },
  {
    words: "robot rotate",
    summary: "Give a robot a new secret, and print it this once",
    operations: [projectRobots.rotateSecret, registryRobots.rotateSecret],
    arguments: [ROBOT],
    options: [],
    columns: SECRET_COLUMNS,
    destroys: "The present secret of {} and its tokens end at once. Go on?",
  },
  {
    words: "robot delete",
    summary: "Delete a robot",
    operations: [projectRobots.delete, registryRobots.delete],
    arguments: [ROBOT],
    options: [],
    columns: [],
    destroys: "Delete the robot {}?",
    done: "The robot {} is deleted.",
  },
];
