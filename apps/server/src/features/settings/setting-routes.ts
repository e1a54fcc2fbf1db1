// The operations on settings, joined to their rules. Not here: the rules (settings.ts).
import * as operations from "@berth/api/settings";
import { type ApiRoute, route } from "../api-route.ts";
import type { Settings } from "./settings.ts";

/** The routes of settings. */
export function settingRoutes(settings: Settings): ApiRoute[] {
  return [
    route(operations.listSettings, (_input, { grant }) => settings.list(grant)),
    route(operations.updateSettings, ({ body }, { grant }) => settings.update(grant, body)),
  ];
}
