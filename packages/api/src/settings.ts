// Operations on settings that change at run time. Not here: their rules (the server's features/settings).
import Type, { type Static } from "typebox";
import { closed, Nothing } from "./fields.ts";
import { operation } from "./operation.ts";

export const Setting = closed({
  path: Type.String({ description: "As in the configuration, such as log.level." }),
  value: Type.String({ description: "What counts now, as it would be written in the configuration." }),
  configured: Type.String({ description: "What counts where nobody has changed it here." }),
  source: Type.Enum(["default", "configuration", "api"], { description: "Where the value comes from." }),
  fixedBy: Type.Union([Type.String(), Type.Null()], {
    description: "The variable, flag or line of a file that gives it: it cannot be changed here then. Null: it can.",
  }),
  about: Type.String({ description: "What it does." }),
});
/** A setting as it is now. */
export type SettingView = Static<typeof Setting>;

const Settings = closed({ items: Type.Array(Setting) });
const NewValue = Type.Optional(
  Type.Union([Type.String({ minLength: 1, maxLength: 256 }), Type.Null()], { description: "Null: what is configured counts again." }),
);
const Change = closed({ "log.level": NewValue, "projects.creation": NewValue });
/** New values by path. */
export type SettingsChange = Static<typeof Change>;

export const listSettings = operation({
  id: "listSettings",
  tag: "settings",
  method: "GET",
  path: "/settings",
  summary: "List the settings that change while the registry runs",
  permission: { kind: "system", may: "settings.read" },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Settings,
  errors: ["DENIED"],
});

export const updateSettings = operation({
  id: "updateSettings",
  tag: "settings",
  method: "PATCH",
  path: "/settings",
  summary: "Change settings: all replicas go by it within a second",
  permission: { kind: "administrator" },
  params: Nothing,
  query: Nothing,
  body: Change,
  status: 200,
  answer: Settings,
  errors: ["DENIED", "SETTING_FIXED", "SETTING_INVALID"],
});
