// The settings that change at run time, and what a change of each does. Not here: where they are stored (features/settings).
import { projectSettings } from "../distribution/distribution-settings.ts";
import type { ProjectCreation } from "../access/judge.ts";
import { type RunTimeSetting, type RunTimeSettings, createRunTimeSettings } from "../features/settings/run-time.ts";
import { logSettings } from "../platform/observation-settings.ts";
import type { Foundation, RoleContext } from "./foundation.ts";

/** The settings that the server reads when it needs them. */
export interface ServerSettings extends RunTimeSettings {
  readonly projectCreation: () => ProjectCreation;
  /** `projects.ownedPerUser`. */
  readonly ownedPerUser: number;
}

/** Starts to apply them. Errors: UNAVAILABLE if the database cannot be reached at the start. */
export async function startRunTimeSettings(
  { config, logger }: RoleContext,
  { database, clock }: Pick<Foundation, "database" | "clock">,
): Promise<ServerSettings> {
  const level: RunTimeSetting<typeof config.log.level> = {
    path: "log.level",
    setting: logSettings.level,
    configured: config.log.level,
    fixedBy: config.writtenAt.get("log.level"),
    apply(value) {
      logger.level = value;
      logger.info({ level: value }, "the log's level was changed");
    },
  };
  let projectCreation = config.projects.creation;
  const creation: RunTimeSetting<ProjectCreation> = {
    path: "projects.creation",
    setting: projectSettings.creation,
    configured: config.projects.creation,
    fixedBy: config.writtenAt.get("projects.creation"),
    apply(value) {
      projectCreation = value;
      logger.info({ creation: value }, "who may create projects was changed");
    },
  };
  const settings = createRunTimeSettings({
    database,
    clock,
    settings: [level, creation],
    onUnknown: (path, problem) =>
      logger.warn({ setting: path, problem }, "a setting in the database is not understood: what is configured counts"),
  });
  await settings.look();
  settings.start();
  return { ...settings, projectCreation: () => projectCreation, ownedPerUser: config.projects.ownedPerUser };
}
