// Scopes as the API says them, of robots, tokens and members that are narrowed. Not here: what they mean (robot-scopes.ts, tag-patterns.ts).
import { ApiError } from "@berth/api/errors";
import type { RobotScopeView } from "@berth/api/robots";
import { isRepositoryPattern, type RobotScope } from "./robot-scopes.ts";
import { isTagPattern } from "./tag-patterns.ts";

/** Reads scopes of a body; `projectName`: undefined for a robot of the registry. Errors: FIELD_INVALID. */
export function parseScopeViews(views: readonly RobotScopeView[], projectName: string | undefined): RobotScope[] {
  const seen = new Set<string>();
  return views.map(({ repositories, actions, tags }, index) => {
    const fail = (field: string, reason: string): ApiError =>
      new ApiError("FIELD_INVALID", { detail: [{ field: `body.scopes.${index}.${field}`, reason }] });
    if (!isRepositoryPattern(repositories, projectName)) {
      const where = projectName === undefined ? "or **" : `of the project ${projectName}`;
      throw fail("repositories", `must be PROJECT/NAME, PROJECT/* or PROJECT/** ${where}`);
    }
    if (seen.has(repositories)) throw fail("repositories", "is named twice");
    seen.add(repositories);
    if (tags === undefined) return { repositoryPattern: repositories, actions: new Set(actions) };
    if (!tags.every(isTagPattern)) throw fail("tags", "must be tags, with * for any characters");
    if (!actions.includes("push") && !actions.includes("delete")) throw fail("tags", "bound a push or a deletion, and here is neither");
    return { repositoryPattern: repositories, actions: new Set(actions), tagPatterns: [...new Set(tags)] };
  });
}

/** Says scopes. */
export function viewScopes(scopes: readonly RobotScope[]): RobotScopeView[] {
  return scopes.map(({ repositoryPattern, actions, tagPatterns }) => ({
    repositories: repositoryPattern,
    actions: [...actions].toSorted(),
    ...(tagPatterns === undefined ? {} : { tags: [...tagPatterns] }),
  }));
}

/** Scopes of a member or a group, whose role they narrow. Errors: FIELD_INVALID. */
export function parseMemberScopes(
  views: readonly RobotScopeView[] | undefined,
  projectName: string,
  role: string,
): RobotScope[] | undefined {
  if (views === undefined) return undefined;
  // An owner could widen it again.
  if (role === "owner")
    throw new ApiError("FIELD_INVALID", { detail: [{ field: "body.scopes", reason: "the role owner is not narrowed" }] });
  return parseScopeViews(views, projectName);
}
