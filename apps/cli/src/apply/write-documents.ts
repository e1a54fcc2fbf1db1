// What a registry has, as the documents that would make it so. Pure. Not here: reading it (registry-state.ts).
import { APPLY_VERSION, type ApplyDocument } from "@berth/api/apply";
import type { RobotView } from "@berth/api/robots";
import type { RegistryState } from "./registry-state.ts";

/** The documents, in the order of names. */
export function documentsOf({ projects, robots, settings }: RegistryState): readonly ApplyDocument[] {
  const changed = (settings ?? []).filter(({ source }) => source === "api");
  return [
    ...(changed.length === 0
      ? []
      : [{ apiVersion: APPLY_VERSION, kind: "Settings" as const, values: changed.map(({ path, value }) => ({ path, value })) }]),
    ...(robots ?? []).map((robot) => ({ apiVersion: APPLY_VERSION, kind: "Robot" as const, ...robotOf(robot) })),
    ...[...projects.values()].map(({ name, visibility, members, robots: own }) => ({
      apiVersion: APPLY_VERSION,
      kind: "Project" as const,
      name,
      visibility,
      ...(members === undefined ? {} : { members: [...members] }),
      ...(own === undefined ? {} : { robots: own.map(robotOf) }),
    })),
  ];
}

function robotOf({ name, scopes, expiresAt, isDisabled, hasSecret }: RobotView) {
  return { name, scopes, expiresAt, ...(isDisabled ? { isDisabled } : {}), ...(hasSecret ? {} : { withoutSecret: true }) };
}
