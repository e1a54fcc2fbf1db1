// Operations on the networks from which a project or a robot may be used. Not here: their rules (the server's features/networks), the registry's own
// networks, which are settings.
import Type, { type Static, type TObject } from "typebox";
import { closed, Nothing, ProjectNameField, RobotNameField } from "./fields.ts";
import { operation } from "./operation.ts";
import type { Permission } from "./permissions.ts";

/** Entries of one list at the most. */
const MAX_NETWORKS = 100;

const NetworkField = Type.String({
  pattern: "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
  minLength: 2,
  maxLength: 49,
  description: "A network such as 10.0.0.0/8 or 2001:db8::/32, or an address.",
});
const fields = {
  allow: Type.Array(NetworkField, {
    maxItems: MAX_NETWORKS,
    description: "The only networks from which it may be used; empty: all that are not denied.",
  }),
  deny: Type.Array(NetworkField, {
    maxItems: MAX_NETWORKS,
    description: "Networks from which it may not be used, also where they are allowed.",
  }),
};
export const Networks = closed(fields);
/** From where something may be used. */
export type NetworksView = Static<typeof Networks>;

const PutBody = closed({
  allow: Type.Optional(fields.allow),
  deny: Type.Optional(fields.deny),
  force: Type.Optional(Type.Boolean({ description: "Also where the caller's own address is excluded by it." })),
});
/** Lists in place of those that are there. */
export type PutNetworksBody = Static<typeof PutBody>;

interface Owner<R extends Permission, W extends Permission> {
  readonly suffix: string;
  readonly tag: "projects" | "robots";
  readonly path: string;
  readonly of: string;
  readonly read: R;
  readonly write: W;
  readonly missing: readonly ("PROJECT_UNKNOWN" | "ROBOT_UNKNOWN")[];
}

function define<P extends TObject, const R extends Permission, const W extends Permission>(
  { suffix, tag, path, of, read, write, missing }: Owner<R, W>,
  params: P,
) {
  const common = { tag, params, query: Nothing, path: `${path}/networks` } as const;
  return {
    get: operation({
      ...common,
      permission: read,
      id: `get${suffix}Networks`,
      method: "GET",
      summary: `Read from where ${of} may be used`,
      body: undefined,
      status: 200,
      answer: Networks,
      errors: ["DENIED", ...missing],
    }),
    put: operation({
      ...common,
      permission: write,
      id: `put${suffix}Networks`,
      method: "PUT",
      summary: `Say from where ${of} may be used, in place of what was said before`,
      body: PutBody,
      status: 200,
      answer: Networks,
      errors: ["DENIED", ...missing, "NETWORKS_EXCLUDE_CALLER"],
    }),
    delete: operation({
      ...common,
      permission: write,
      id: `delete${suffix}Networks`,
      method: "DELETE",
      summary: `Let ${of} be used from everywhere`,
      body: undefined,
      status: 204,
      answer: undefined,
      errors: ["DENIED", ...missing],
    }),
  };
}

/** Operations on from where a project may be used. */
export const projectNetworks = define(
  {
    suffix: "Project",
    tag: "projects",
    path: "/projects/{project}",
    of: "a project",
    read: { kind: "project", may: "members.read" },
    write: { kind: "project", may: "project.update" },
    missing: ["PROJECT_UNKNOWN"],
  },
  closed({ project: ProjectNameField }),
);

/** Operations on from where a project's robot may be used. */
export const projectRobotNetworks = define(
  {
    suffix: "ProjectRobot",
    tag: "robots",
    path: "/projects/{project}/robots/{robot}",
    of: "a robot of a project",
    read: { kind: "project", may: "robots.read" },
    write: { kind: "project", may: "robots.write" },
    missing: ["PROJECT_UNKNOWN", "ROBOT_UNKNOWN"],
  },
  closed({ project: ProjectNameField, robot: RobotNameField }),
);

/** Operations on from where a robot of the registry may be used. */
export const registryRobotNetworks = define(
  {
    suffix: "RegistryRobot",
    tag: "robots",
    path: "/robots/{robot}",
    of: "a robot of the registry",
    read: { kind: "system", may: "robots.read" },
    write: { kind: "administrator" },
    missing: ["ROBOT_UNKNOWN"],
  },
  closed({ robot: RobotNameField }),
);
