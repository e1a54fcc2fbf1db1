// Scopes of members as a row keeps them: JSON, with patterns below the project, so that they hold under another name of it. What is not understood
// gives no right. Not here: what scopes mean (robot-scopes.ts).
import type { Action } from "./caller.ts";
import type { RobotScope } from "./robot-scopes.ts";
import { ALL_ACTIONS } from "./roles.ts";
import { isTagPattern } from "./tag-patterns.ts";

/** Writes scopes of a project. */
export function storeScopes(scopes: readonly RobotScope[], projectName: string): string {
  return JSON.stringify(
    scopes.map(({ repositoryPattern, actions, tagPatterns }) => ({
      repositories: repositoryPattern.slice(projectName.length + 1),
      actions: [...actions].toSorted(),
      ...(tagPatterns === undefined ? {} : { tags: tagPatterns }),
    })),
  );
}

/** Reads them. */
export function parseStoredScopes(stored: string, projectName: string): readonly RobotScope[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(stored);
  } catch {
    // What cannot be read gives no right.
    return [];
  }
  return Array.isArray(parsed) ? parsed.flatMap((scope: unknown) => parseScope(scope, projectName)) : [];
}

function parseScope(scope: unknown, projectName: string): RobotScope[] {
  if (typeof scope !== "object" || scope === null) return [];
  const { repositories, actions, tags } = scope as Readonly<Record<string, unknown>>;
  if (typeof repositories !== "string" || !Array.isArray(actions)) return [];
  const known = actions.filter((action): action is Action => ALL_ACTIONS.has(action as Action));
  const tagPatterns = parseTagPatterns(tags);
  return [{ repositoryPattern: `${projectName}/${repositories}`, actions: new Set(known), tagPatterns }];
}

/** Undefined where there are none; patterns that are not understood name no tag. */
export function parseTagPatterns(stored: unknown): readonly string[] | undefined {
  if (stored === undefined || stored === null) return undefined;
  return Array.isArray(stored) ? stored.filter((pattern): pattern is string => typeof pattern === "string" && isTagPattern(pattern)) : [];
}
