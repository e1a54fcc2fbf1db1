// Operations on groups of users, their members, and the roles that they have in projects. Not here: their rules (the server's features/groups).
import Type, { type Static } from "typebox";
import {
  closed,
  GroupNameField,
  Nothing,
  page,
  PageQuery,
  ProjectNameField,
  RoleField,
  SystemRoleField,
  TimeField,
  UserNameField,
} from "./fields.ts";
import { LOCATION, operation } from "./operation.ts";
import { MemberScopes } from "./projects.ts";

const GroupSource = closed(
  {
    kind: Type.Enum(["local", "oidc", "ldap"], { description: "local: administrators say who is in it; else a provider says so as well." }),
    provider: Type.Optional(Type.String({ minLength: 1, maxLength: 64, description: "The provider's name, as it is configured." })),
    key: Type.Optional(
      Type.String({ minLength: 1, maxLength: 512, description: "What the provider calls the group: a claim, or an entry's name." }),
    ),
  },
  { description: "Where its members come from; provider and key go with oidc and ldap." },
);
const Description = Type.String({ maxLength: 1000, description: "What it is for." });
const SystemRoleOrNone = Type.Union([SystemRoleField, Type.Null()], {
  description: "What its members are in the whole registry; null for nothing.",
});

export const Group = closed({
  name: GroupNameField,
  description: Description,
  source: GroupSource,
  systemRole: SystemRoleOrNone,
  createdAt: TimeField,
});
/** A group. */
export type GroupView = Static<typeof Group>;

export const GroupMember = closed({
  user: UserNameField,
  source: Type.String({ description: "Who says so: local, or the kind and the name of a provider, such as oidc:keycloak." }),
});
/** A member of a group, by one source. */
export type GroupMemberView = Static<typeof GroupMember>;

export const ProjectGroup = closed({ group: GroupNameField, role: RoleField, scopes: Type.Optional(MemberScopes) });
/** A group as a member of a project. */
export type ProjectGroupView = Static<typeof ProjectGroup>;

const OfGroup = closed({ group: GroupNameField });
const OfGroupMember = closed({ group: GroupNameField, user: UserNameField });
const OfProject = closed({ project: ProjectNameField });
const OfProjectGroup = closed({ project: ProjectNameField, group: GroupNameField });

export const NewGroup = closed({
  name: GroupNameField,
  description: Type.Optional(Description),
  source: Type.Optional(GroupSource),
  systemRole: Type.Optional(SystemRoleOrNone),
});
/** What a new group is made of. */
export type NewGroupBody = Static<typeof NewGroup>;
const GroupUpdate = closed({ description: Type.Optional(Description), systemRole: Type.Optional(SystemRoleOrNone) });
/** What can be changed of a group. */
export type GroupUpdateBody = Static<typeof GroupUpdate>;

const READ = { kind: "system", may: "groups.read" } as const;
const WRITE = { kind: "administrator" } as const;

export const listGroups = operation({
  id: "listGroups",
  tag: "groups",
  method: "GET",
  path: "/groups",
  summary: "List the groups of users",
  permission: READ,
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Group),
  errors: ["DENIED"],
});

export const createGroup = operation({
  id: "createGroup",
  tag: "groups",
  method: "POST",
  path: "/groups",
  summary: "Create a group",
  permission: WRITE,
  params: Nothing,
  query: Nothing,
  body: NewGroup,
  status: 201,
  answer: Group,
  headers: LOCATION,
  errors: ["DENIED", "GROUP_EXISTS"],
});

export const getGroup = operation({
  id: "getGroup",
  tag: "groups",
  method: "GET",
  path: "/groups/{group}",
  summary: "Read a group",
  permission: READ,
  params: OfGroup,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Group,
  errors: ["DENIED", "GROUP_UNKNOWN"],
});

export const updateGroup = operation({
  id: "updateGroup",
  tag: "groups",
  method: "PATCH",
  path: "/groups/{group}",
  summary: "Change what a group is for, or what its members are in the whole registry",
  permission: WRITE,
  params: OfGroup,
  query: Nothing,
  body: GroupUpdate,
  status: 200,
  answer: Group,
  errors: ["DENIED", "GROUP_UNKNOWN"],
});

export const deleteGroup = operation({
  id: "deleteGroup",
  tag: "groups",
  method: "DELETE",
  path: "/groups/{group}",
  summary: "Delete a group with its members' rights by it",
  permission: WRITE,
  params: OfGroup,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "GROUP_UNKNOWN", "LAST_OWNER"],
});

export const listGroupMembers = operation({
  id: "listGroupMembers",
  tag: "groups",
  method: "GET",
  path: "/groups/{group}/members",
  summary: "List the members of a group: one by two sources stands there twice",
  permission: READ,
  params: OfGroup,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(GroupMember),
  errors: ["DENIED", "GROUP_UNKNOWN"],
});

export const addGroupMember = operation({
  id: "addGroupMember",
  tag: "groups",
  method: "PUT",
  path: "/groups/{group}/members/{user}",
  summary: "Make a user a member of a group",
  permission: WRITE,
  params: OfGroupMember,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: GroupMember,
  errors: ["DENIED", "GROUP_UNKNOWN", "USER_UNKNOWN"],
});

export const removeGroupMember = operation({
  id: "removeGroupMember",
  tag: "groups",
  method: "DELETE",
  path: "/groups/{group}/members/{user}",
  summary: "End a membership that was made here; one that a provider made ends with the provider's word",
  permission: WRITE,
  params: OfGroupMember,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "GROUP_UNKNOWN", "MEMBER_UNKNOWN"],
});

export const listProjectGroups = operation({
  id: "listProjectGroups",
  tag: "members",
  method: "GET",
  path: "/projects/{project}/groups",
  summary: "List the groups that are members of a project",
  permission: { kind: "project", may: "members.read" },
  params: OfProject,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(ProjectGroup),
  errors: ["DENIED", "PROJECT_UNKNOWN"],
});

export const putProjectGroup = operation({
  id: "putProjectGroup",
  tag: "members",
  method: "PUT",
  path: "/projects/{project}/groups/{group}",
  summary: "Give a group a role in a project, or change it",
  permission: { kind: "project", may: "members.write" },
  params: OfProjectGroup,
  query: Nothing,
  body: closed({ role: RoleField, scopes: Type.Optional(MemberScopes) }),
  status: 200,
  answer: ProjectGroup,
  errors: ["DENIED", "PROJECT_UNKNOWN", "GROUP_UNKNOWN", "LAST_OWNER"],
});

export const deleteProjectGroup = operation({
  id: "deleteProjectGroup",
  tag: "members",
  method: "DELETE",
  path: "/projects/{project}/groups/{group}",
  summary: "Take a group's role in a project away",
  permission: { kind: "project", may: "members.write" },
  params: OfProjectGroup,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "MEMBER_UNKNOWN", "LAST_OWNER"],
});
