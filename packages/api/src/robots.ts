// Operations on robots: accounts of programs, of a project or of the whole registry. Not here: their rules (the server's features/robots).
import Type, { type Static, type TObject } from "typebox";
import { ActionField, closed, Nothing, page, PageQuery, ProjectNameField, RobotNameField, TimeField } from "./fields.ts";
import type { Home } from "./home.ts";
import { operation } from "./operation.ts";
import type { Permission } from "./permissions.ts";

export const RobotScope = closed({
  repositories: Type.String({
    minLength: 1,
    maxLength: 255,
    description:
      "A repository's name; PROJECT/* for those one segment deeper; PROJECT/** for all below; ** for all, in robots of the registry.",
  }),
  actions: Type.Array(ActionField, { minItems: 1, maxItems: 3, uniqueItems: true }),
  tags: Type.Optional(
    Type.Array(Type.String({ pattern: "^[A-Za-z0-9_*][A-Za-z0-9._*-]*$", minLength: 1, maxLength: 128 }), {
      minItems: 1,
      maxItems: 20,
      description: "The only tags that a push or a deletion may move, with * for any characters; all where it is not given.",
    }),
  ),
});
/** A right of a robot. */
export type RobotScopeView = Static<typeof RobotScope>;

const Scopes = Type.Array(RobotScope, { minItems: 1, maxItems: 100, description: "What the robot may do; each pattern once." });
const ExpiresAt = Type.Union([TimeField, Type.Null()], { description: "When the robot ends; null for never." });

const fields = {
  name: RobotNameField,
  login: Type.String({ description: "The name that the robot logs in with." }),
  scopes: Type.Array(RobotScope),
  isDisabled: Type.Boolean(),
  hasSecret: Type.Boolean({ description: "Whether it has a secret to log in with. One without signs in by its trust rules only." }),
  expiresAt: ExpiresAt,
  createdAt: TimeField,
};
export const Robot = closed(fields);
/** A robot, without its secret. */
export type RobotView = Static<typeof Robot>;

export const RobotWithSecret = closed({
  ...fields,
  secret: Type.Union([Type.String(), Type.Null()], {
    description: "Shown this once; only its hash is kept. Null for a robot without one.",
  }),
});
/** A robot with its new secret. */
export type RobotWithSecretView = Static<typeof RobotWithSecret>;

const CreateBody = closed({
  name: RobotNameField,
  scopes: Scopes,
  expiresAt: Type.Optional(ExpiresAt),
  withoutSecret: Type.Optional(Type.Boolean({ description: "The robot gets no secret: it signs in by its trust rules only." })),
});
const UpdateBody = closed({
  scopes: Type.Optional(Scopes),
  expiresAt: Type.Optional(ExpiresAt),
  isDisabled: Type.Optional(Type.Boolean()),
});
/** The body that creates a robot. */
export type CreateRobotBody = Static<typeof CreateBody>;
/** The body that changes a robot. */
export type UpdateRobotBody = Static<typeof UpdateBody>;

// The same six operations twice: for a project, and for the registry.
function define<L extends TObject, I extends TObject, const R extends Permission, const W extends Permission>(
  kind: Home<"ProjectRobot" | "RegistryRobot", R, W>,
  ofList: L,
  ofItem: I,
) {
  const { suffix, path, of, read, write, missing } = kind;
  const common = { tag: "robots", query: Nothing } as const;
  const itemErrors = ["DENIED", ...missing, "ROBOT_UNKNOWN"] as const;
  return {
    list: operation({
      ...common,
      permission: read,
      id: `list${suffix}s`,
      method: "GET",
      path,
      summary: `List the robots of ${of}`,
      params: ofList,
      query: PageQuery,
      body: undefined,
      status: 200,
      answer: page(Robot),
      errors: ["DENIED", ...missing],
    }),
    create: operation({
      ...common,
      permission: write,
      id: `create${suffix}`,
      method: "POST",
      path,
      summary: `Create a robot of ${of}; the answer has its secret, which is not shown again`,
      params: ofList,
      body: CreateBody,
      status: 201,
      answer: RobotWithSecret,
      errors: ["DENIED", ...missing, "ROBOT_EXISTS"],
    }),
    get: operation({
      ...common,
      permission: read,
      id: `get${suffix}`,
      method: "GET",
      path: `${path}/{robot}`,
      summary: `Read a robot of ${of}`,
      params: ofItem,
      body: undefined,
      status: 200,
      answer: Robot,
      errors: itemErrors,
    }),
    update: operation({
      ...common,
      permission: write,
      id: `update${suffix}`,
      method: "PATCH",
      path: `${path}/{robot}`,
      summary: `Change the scopes or the expiry of a robot of ${of}, or disable it`,
      params: ofItem,
      body: UpdateBody,
      status: 200,
      answer: Robot,
      errors: itemErrors,
    }),
    rotateSecret: operation({
      ...common,
      permission: write,
      id: `rotate${suffix}Secret`,
      method: "POST",
      path: `${path}/{robot}/secret`,
      summary: `Give a robot of ${of} a new secret; the old one and its tokens end at once`,
      params: ofItem,
      body: undefined,
      status: 200,
      answer: RobotWithSecret,
      errors: itemErrors,
    }),
    delete: operation({
      ...common,
      permission: write,
      id: `delete${suffix}`,
      method: "DELETE",
      path: `${path}/{robot}`,
      summary: `Delete a robot of ${of}`,
      params: ofItem,
      body: undefined,
      status: 204,
      answer: undefined,
      errors: itemErrors,
    }),
  };
}

/** Operations on the robots of a project. */
export const projectRobots = define(
  {
    suffix: "ProjectRobot",
    path: "/projects/{project}/robots",
    of: "a project",
    read: { kind: "project", may: "robots.read" },
    write: { kind: "project", may: "robots.write" },
    missing: ["PROJECT_UNKNOWN"],
  },
  closed({ project: ProjectNameField }),
  closed({ project: ProjectNameField, robot: RobotNameField }),
);

/** Operations on the robots of the registry. */
export const registryRobots = define(
  {
    suffix: "RegistryRobot",
    path: "/robots",
    of: "the registry",
    read: { kind: "system", may: "robots.read" },
    write: { kind: "administrator" },
    missing: [],
  },
  Nothing,
  closed({ robot: RobotNameField }),
);
