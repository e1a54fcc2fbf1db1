// Operations on projects and their members. Not here: their rules (the server's features/projects).
import Type, { type Static } from "typebox";
import {
  closed,
  CountField,
  Nothing,
  page,
  PageQuery,
  ProjectNameField,
  RoleField,
  TimeField,
  UserNameField,
  VisibilityField,
} from "./fields.ts";
import { LOCATION, operation } from "./operation.ts";
import { RobotScope } from "./robots.ts";

const DescriptionField = Type.Union([Type.String({ minLength: 1, maxLength: 1000 }), Type.Null()], {
  description: "What the project is for; null for nothing.",
});
const ContactField = Type.Union([Type.String({ minLength: 1, maxLength: 254 }), Type.Null()], {
  description: "Whom to write to about it: an address, a channel. Who may read the project sees it. Null for nobody.",
});
const LabelsField = Type.Array(
  closed({
    key: Type.String({ pattern: "^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$", minLength: 1, maxLength: 63 }),
    value: Type.String({ maxLength: 255 }),
  }),
  { maxItems: 32, description: "Pairs of key and value, each key once; in the order of the keys." },
);

export const Project = closed(
  {
    name: ProjectNameField,
    visibility: VisibilityField,
    description: DescriptionField,
    contact: ContactField,
    labels: LabelsField,
    role: Type.Union([RoleField, Type.Null()], { description: "The caller's own role; null where the caller is no member." }),
    usage: closed(
      {
        repositories: CountField,
        manifests: CountField,
        tags: CountField,
        blobs: CountField,
        sizeBytes: Type.Integer({ minimum: 0 }),
      },
      { description: "What its repositories hold together; what two of them share is counted in each." },
    ),
    createdAt: TimeField,
  },
  { description: "A project: repositories with common members and policies." },
);
/** A project as its readers see it. */
export type ProjectView = Static<typeof Project>;

/** What a role is narrowed to. */
export const MemberScopes = Type.Array(RobotScope, {
  minItems: 1,
  maxItems: 100,
  description:
    "What the role is narrowed to, each pattern of repositories once: no actions beyond the role's. All of the project where it is not given.",
});
export const Member = closed({ user: UserNameField, role: RoleField, scopes: Type.Optional(MemberScopes) });
/** A member as the project's members see it. */
export type MemberView = Static<typeof Member>;

/** What a project is made of besides its name. */
export const ProjectFields = {
  visibility: Type.Optional(VisibilityField),
  description: Type.Optional(DescriptionField),
  contact: Type.Optional(ContactField),
  labels: Type.Optional(LabelsField),
};

const OfProject = closed({ project: ProjectNameField });
const OfMember = closed({ project: ProjectNameField, user: UserNameField });

export const listProjects = operation({
  id: "listProjects",
  tag: "projects",
  method: "GET",
  path: "/projects",
  summary: "List the projects that the caller may read",
  permission: { kind: "anyone" },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Project),
  errors: [],
});

export const createProject = operation({
  id: "createProject",
  tag: "projects",
  method: "POST",
  path: "/projects",
  summary: "Create a project; the caller becomes its owner",
  permission: { kind: "project-creation" },
  params: Nothing,
  query: Nothing,
  body: closed({ name: ProjectNameField, ...ProjectFields }),
  status: 201,
  answer: Project,
  headers: LOCATION,
  errors: ["DENIED", "PROJECT_EXISTS", "PROJECTS_EXCEEDED"],
});

export const getProject = operation({
  id: "getProject",
  tag: "projects",
  method: "GET",
  path: "/projects/{project}",
  summary: "Read a project",
  permission: { kind: "project", may: "project.read" },
  params: OfProject,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Project,
  errors: ["PROJECT_UNKNOWN"],
});

export const updateProject = operation({
  id: "updateProject",
  tag: "projects",
  method: "PATCH",
  path: "/projects/{project}",
  summary: "Change a project's visibility, description, contact or labels; what is left out stays",
  permission: { kind: "project", may: "project.update" },
  params: OfProject,
  query: Nothing,
  body: closed(ProjectFields),
  status: 200,
  answer: Project,
  errors: ["DENIED", "PROJECT_UNKNOWN"],
});

export const transferProject = operation({
  id: "transferProject",
  tag: "projects",
  method: "POST",
  path: "/projects/{project}/transfer",
  summary: "Hand a project over: another user becomes its owner, and an owner steps back, together or not at all",
  permission: { kind: "project", may: "members.write" },
  params: OfProject,
  query: Nothing,
  body: closed({
    to: UserNameField,
    from: Type.Optional(
      Type.Unsafe<string>({ ...UserNameField, description: "The owner who steps back: the caller where it is not given." }),
    ),
    role: Type.Optional(
      Type.Union([RoleField, Type.Null()], {
        description: "What that one is afterwards: maintainer where it is not given; null: no member.",
      }),
    ),
  }),
  status: 200,
  answer: Project,
  errors: ["DENIED", "PROJECT_UNKNOWN", "USER_UNKNOWN", "MEMBER_UNKNOWN"],
});

export const deleteProject = operation({
  id: "deleteProject",
  tag: "projects",
  method: "DELETE",
  path: "/projects/{project}",
  summary: "Delete a project that has no repositories, with its members and robots",
  permission: { kind: "project", may: "project.delete" },
  params: OfProject,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "PROJECT_NOT_EMPTY"],
});

export const listMembers = operation({
  id: "listMembers",
  tag: "members",
  method: "GET",
  path: "/projects/{project}/members",
  summary: "List a project's members",
  permission: { kind: "project", may: "members.read" },
  params: OfProject,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Member),
  errors: ["DENIED", "PROJECT_UNKNOWN"],
});

export const putMember = operation({
  id: "putMember",
  tag: "members",
  method: "PUT",
  path: "/projects/{project}/members/{user}",
  summary: "Make a user a member, or change a member's role",
  permission: { kind: "project", may: "members.write" },
  params: OfMember,
  query: Nothing,
  body: closed({ role: RoleField, scopes: Type.Optional(MemberScopes) }),
  status: 200,
  answer: Member,
  errors: ["DENIED", "PROJECT_UNKNOWN", "USER_UNKNOWN", "LAST_OWNER"],
});

export const deleteMember = operation({
  id: "deleteMember",
  tag: "members",
  method: "DELETE",
  path: "/projects/{project}/members/{user}",
  summary: "End a membership",
  permission: { kind: "project", may: "members.write" },
  params: OfMember,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "MEMBER_UNKNOWN", "LAST_OWNER"],
});
