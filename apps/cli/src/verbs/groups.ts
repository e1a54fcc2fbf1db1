// Verbs on groups of users, and on their roles in projects. Not here: what runs them (../call.ts).
import * as groups from "@berth/api/groups";
import { timeText } from "../print.ts";
import { ONLY, ONLY_COLUMN } from "./projects.ts";
import type { Argument, CallVerb, Column, Option } from "../verb.ts";
import { PROJECT, USER } from "./arguments.ts";

const GROUP: Argument = { name: "GROUP", kind: "text", into: "params.group", help: "a group's name" };
const GROUP_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "SOURCE", of: ({ source: { kind, provider } }: groups.GroupView) => (provider === undefined ? kind : `${kind}:${provider}`) },
  { title: "KEY", of: ({ source }: groups.GroupView) => source.key ?? "" },
  { title: "SYSTEM ROLE", of: "systemRole" },
  { title: "DESCRIPTION", of: "description", wide: true },
  { title: "CREATED", of: ({ createdAt }: groups.GroupView) => timeText(createdAt), wide: true },
];
const MEMBER_COLUMNS: readonly Column[] = [
  { title: "USER", of: "user" },
  { title: "SOURCE", of: "source" },
];
const PROJECT_COLUMNS: readonly Column[] = [{ title: "GROUP", of: "group" }, { title: "ROLE", of: "role" }, ONLY_COLUMN];
const DESCRIPTION: Option = { name: "description", kind: "text", into: "body.description", help: "what it is for" };
const SYSTEM_ROLE: Option = {
  name: "system-role",
  kind: "text",
  into: "body.systemRole",
  help: "what its members are in the whole registry",
};

/** Verbs on groups. */
export const GROUP_VERBS: readonly CallVerb[] = [
  { words: "group list", summary: "List the groups", operations: [groups.listGroups], arguments: [], options: [], columns: GROUP_COLUMNS },
  { words: "group show", summary: "Show a group", operations: [groups.getGroup], arguments: [GROUP], options: [], columns: GROUP_COLUMNS },
  {
    words: "group create",
    summary: "Create a group",
    operations: [groups.createGroup],
    arguments: [{ ...GROUP, into: "body.name" }],
    options: [
      DESCRIPTION,
      SYSTEM_ROLE,
      { name: "source", kind: "text", into: "body.source.kind", help: "who says who is in it" },
      { name: "provider", kind: "text", into: "body.source.provider", help: "the provider's name" },
      { name: "key", kind: "text", into: "body.source.key", help: "what the provider calls the group" },
    ],
    columns: GROUP_COLUMNS,
  },
  {
    words: "group update",
    summary: "Change what a group is for, or what its members are in the whole registry",
    operations: [groups.updateGroup],
    arguments: [GROUP],
    options: [
      DESCRIPTION,
      SYSTEM_ROLE,
      { name: "no-system-role", kind: "none", into: "body.systemRole", help: "its members have no role in the whole registry by it" },
    ],
    columns: GROUP_COLUMNS,
  },
  {
    words: "group delete",
    summary: "Delete a group with its members' rights by it",
    operations: [groups.deleteGroup],
    arguments: [GROUP],
    options: [],
    columns: [],
    destroys: "Delete the group {} with its members' rights by it?",
    done: "The group {} is deleted.",
  },
  {
    words: "group members",
    summary: "List the members of a group",
    operations: [groups.listGroupMembers],
    arguments: [GROUP],
    options: [],
    columns: MEMBER_COLUMNS,
  },
  {
    words: "group add",
    summary: "Make a user a member of a group",
    operations: [groups.addGroupMember],
    arguments: [GROUP, USER],
    options: [],
    columns: MEMBER_COLUMNS,
  },
  {
    words: "group remove",
    summary: "End a user's membership of a group",
    operations: [groups.removeGroupMember],
    arguments: [GROUP, USER],
    options: [],
    columns: [],
    destroys: "End the membership of {}?",
    done: "{} is no member any more.",
  },
  {
    words: "member groups",
    summary: "List the groups that are members of a project",
    operations: [groups.listProjectGroups],
    arguments: [PROJECT],
    options: [],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "member set-group",
    summary: "Give a group a role in a project",
    operations: [groups.putProjectGroup],
    arguments: [PROJECT, GROUP],
    options: [{ name: "role", kind: "text", into: "body.role", help: "what its members may do", required: true }, ONLY],
    columns: PROJECT_COLUMNS,
  },
  {
    words: "member remove-group",
    summary: "Take a group's role in a project away",
    operations: [groups.deleteProjectGroup],
    arguments: [PROJECT, GROUP],
    options: [],
    columns: [],
    destroys: "Take away the role of {}?",
    done: "{} is no member any more.",
  },
];
