// The arguments that verbs of several things take. Not here: those of one kind of thing, which stand beside its verbs.
import type { Argument } from "../verb.ts";

export const PROJECT: Argument = { name: "PROJECT", kind: "text", into: "params.project", help: "a project's name" };
export const REPOSITORY: Argument = { name: "REPOSITORY", kind: "repository", help: "PROJECT/NAME, such as team/app" };
export const ROBOT: Argument = { name: "ROBOT", kind: "robot", help: "PROJECT+NAME, or +NAME for a robot of the registry" };
export const USER: Argument = { name: "USER", kind: "text", into: "params.user", help: "a user's login name" };
/** The user whose things they are. */
export const OWNER: Argument = {
  name: "USER",
  kind: "text",
  into: "params.user",
  optional: true,
  help: "whose, for administrators; your own where it is not given",
};
