// Scopes as the API says them. Not here: what their patterns reach (robot-scopes.ts).
import { ApiError } from "@berth/api/errors";
import type { RobotScopeView } from "@berth/api/robots";
import { isRepositoryPattern, type RobotScope } from "./robot-scopes.ts";

/** Reads scopes; `projectName`: the project that they stay in, undefined for the whole registry. Errors: FIELD_INVALID. */
export function parseScopeViews(views: readonly RobotScopeView[], projectName: string | undefined): RobotScope[] {
  const seen = new Set<string>();
  return views.map(({ repositories, actions }, index) => {
    const field = `body.scopes.${index}.repositories`;
    if (!isRepositoryPattern(repositories, projectName)) {
      const where = projectName === undefined ? "or **" : `of the project ${projectName}`;
      throw new ApiError("FIELD_INVALID", { detail: [{ field, reason: `must be PROJECT/NAME, PROJECT/* or PROJECT/** ${where}` }] });
    }
    if (seen.has(repositories)) throw new ApiError("FIELD_INVALID", { detail: [{ field, reason: "is named twice" }] });
    seen.add(repositories);
    return { repositoryPattern: repositories, actions: new Set(actions) };
  });
}

/** Shows scopes. */
export function viewScopes(scopes: readonly RobotScope[]): RobotScopeView[] {
  return scopes.map(({ repositoryPattern, actions }) => ({ repositories: repositoryPattern, actions: [...actions].toSorted() }));
}
