// Verbs that are more than one call, or none. Not here: their work (../commands/).
import * as groups from "@berth/api/groups";
import * as issuers from "@berth/api/issuers";
import { EXPLAINED_ACTIONS, explainAccess } from "@berth/api/explain";
import * as jobs from "@berth/api/jobs";
import * as settings from "@berth/api/settings";
import * as users from "@berth/api/users";
import * as projects from "@berth/api/projects";
import * as robots from "@berth/api/robots";
import * as trust from "@berth/api/trust";
import * as webhooks from "@berth/api/webhooks";
import { changePassword, showCaller } from "../commands/account.ts";
import { apply, diff, exportState, printSchema } from "../commands/apply.ts";
import { listContexts, removeContext, useContext } from "../commands/context.ts";
import { explain } from "../commands/explain.ts";
import { followJob } from "../commands/follow-job.ts";
import { login, logout } from "../commands/login.ts";
import { callRaw } from "../commands/raw.ts";
import { listSettings, resetSetting, setSetting } from "../commands/settings.ts";
import type { Argument, CommandOption, CommandVerb } from "../verb.ts";

const FILE: CommandOption = {
  name: "file",
  short: "f",
  value: "FILE",
  isMany: true,
  help: "a file, a folder of them, or - for the input; can be given several times",
};
const PRUNE: CommandOption = { name: "prune", help: "delete members and robots that a list of the files does not have" };
const READS = [
  users.getMe,
  projects.getProject,
  projects.listMembers,
  groups.listProjectGroups,
  groups.listGroupMembers,
  issuers.listIssuers,
  ...[robots.projectRobots, robots.registryRobots, trust.projectTrust, trust.registryTrust].map(({ list }) => list),
  ...[webhooks.projectWebhooks, webhooks.registryWebhooks].map(({ list }) => list),
];

const SETTING: Argument = { name: "SETTING", kind: "text", help: "its name, such as log.level: see berth settings list" };

/** The verbs. `completion` is in verbs.ts, because it is generated from all of them. */
export const COMMAND_VERBS: readonly CommandVerb[] = [
  {
    words: "login",
    summary: "Log in to a registry, and keep the name and the password in a context",
    operations: [users.getMe],
    arguments: [{ name: "REGISTRY", kind: "text", optional: true, help: "its address; the current context's where it is not given" }],
    commandOptions: [
      { name: "user", short: "u", value: "NAME", help: "the login name of a user or a robot; asked for where it is not given" },
      { name: "token", help: "log in with a personal token that reads the API, in place of name and password" },
      { name: "web", help: "log in with a browser, on this machine or another: prints an address and a code" },
      { name: "password-stdin", help: "read the password, or the token, from standard input" },
      {
        name: "oidc-token",
        help: "read an ID token of a CI service or a cluster from standard input; --user names the robot that it is to become",
      },
      { name: "name", value: "CONTEXT", help: "the context's name; the registry's address where it is not given" },
    ],
    run: login,
  },
  {
    words: "logout",
    summary: "Forget the name and the password of a context",
    operations: [],
    arguments: [{ name: "REGISTRY", kind: "text", optional: true, help: "its address; the current context's where it is not given" }],
    commandOptions: [],
    run: logout,
  },
  { words: "whoami", summary: "Show who you are", operations: [users.getMe], arguments: [], commandOptions: [], run: showCaller },
  {
    words: "explain",
    summary: "Say whether somebody may do something, and why; exit code 1 where not",
    operations: [explainAccess],
    arguments: [
      { name: "ACTION", kind: "text", help: `one of ${EXPLAINED_ACTIONS.join(", ")}` },
      {
        name: "TARGET",
        kind: "text",
        optional: true,
        help: "PROJECT/NAME or PROJECT/NAME:TAG to pull, push and delete; a project; nothing for the registry",
      },
    ],
    commandOptions: [
      { name: "account", value: "NAME", help: "a user, or a robot as PROJECT+NAME or +NAME; you where it is not given" },
      { name: "token", value: "TOKEN", help: "the number of one of the account's tokens: who comes by it" },
      { name: "anonymous", help: "somebody without credentials" },
    ],
    run: explain,
  },
  {
    words: "password",
    summary: "Change your own password, which ends your sessions and logins, and not your personal tokens",
    operations: [users.changeMyPassword],
    arguments: [],
    commandOptions: [{ name: "password-stdin", help: "read the new password from standard input" }],
    run: changePassword,
  },
  {
    words: "context list",
    summary: "List the registries that you have logged in to",
    operations: [],
    arguments: [],
    commandOptions: [],
    run: listContexts,
  },
  {
    words: "context use",
    summary: "Make a context the current one",
    operations: [],
    arguments: [{ name: "CONTEXT", kind: "text", help: "a context's name: see berth context list" }],
    commandOptions: [],
    run: useContext,
  },
  {
    words: "context remove",
    summary: "Forget a context",
    operations: [],
    arguments: [{ name: "CONTEXT", kind: "text", help: "a context's name: see berth context list" }],
    commandOptions: [],
    run: removeContext,
  },
  {
    words: "apply",
    summary: "Make the registry what files say: projects with members, groups, robots and webhooks; issuers, settings",
    operations: [...READS, projects.createProject, projects.putMember, settings.updateSettings],
    arguments: [],
    commandOptions: [
      FILE,
      { name: "dry-run", help: "show what would be done, and do nothing" },
      PRUNE,
      { name: "yes", short: "y", help: "do not ask before something is deleted" },
    ],
    run: apply,
  },
  {
    words: "diff",
    summary: "Show how the registry differs from files; exit code 1 where it does",
    operations: [...READS, settings.listSettings],
    arguments: [],
    commandOptions: [FILE, PRUNE],
    run: diff,
  },
  {
    words: "export",
    summary: "Print what the registry has, as files of apply; whole where no project is named",
    operations: [...READS, projects.listProjects, settings.listSettings],
    arguments: [{ name: "PROJECT", kind: "text", optional: true, help: "a project's name" }],
    commandOptions: [],
    run: exportState,
  },
  {
    words: "schema",
    summary: "Print the JSON schema of files of apply, for editors",
    operations: [],
    arguments: [],
    commandOptions: [],
    run: printSchema,
  },
  {
    words: "job follow",
    summary: "Print what a job says until it ends; exit code 1 where it fails",
    operations: [jobs.followJob],
    arguments: [{ name: "JOB", kind: "text", help: "a job's number" }],
    commandOptions: [],
    run: followJob,
  },
  {
    words: "settings list",
    summary: "List the registry's settings that change while it runs",
    operations: [settings.listSettings],
    arguments: [],
    commandOptions: [],
    run: listSettings,
  },
  {
    words: "settings set",
    summary: "Change a setting of the registry",
    operations: [settings.updateSettings],
    arguments: [SETTING, { name: "VALUE", kind: "text", help: "its new value, as in the configuration" }],
    commandOptions: [],
    run: setSetting,
  },
  {
    words: "settings reset",
    summary: "Let a setting have again what is configured",
    operations: [settings.updateSettings],
    arguments: [SETTING],
    commandOptions: [],
    run: resetSetting,
  },
  {
    words: "api",
    summary: "Send any request of the API, and print the answer as it is",
    operations: [],
    arguments: [
      { name: "METHOD", kind: "text", help: "GET, POST, PUT, PATCH or DELETE" },
      { name: "PATH", kind: "text", help: "below /api/v1, such as /projects?limit=10" },
    ],
    commandOptions: [
      { name: "body", value: "JSON", help: "the body; @FILE reads it from a file, - from standard input" },
      { name: "if-match", value: "ETAG", help: "do it only to this revision" },
    ],
    run: callRaw,
  },
];
