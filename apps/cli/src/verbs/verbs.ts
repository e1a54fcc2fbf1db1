// The table of all verbs, in the order of the help. Not here: the rows (the files beside it).
import { completionScript, SHELLS } from "../completion.ts";
import { EXIT, Misuse } from "../misuse.ts";
import type { Verb } from "../verb.ts";
import { AUDIT_VERBS } from "./audit.ts";
import { COMMAND_VERBS } from "./commands.ts";
import { CLEANUP_VERBS } from "./cleanup.ts";
import { CONTENT_VERBS, JOB_VERBS, UPLOAD_VERBS } from "./content.ts";
import { DIRECTORY_VERBS } from "./directories.ts";
import { GROUP_VERBS } from "./groups.ts";
import { SESSION_VERBS } from "./sessions.ts";
import { SEARCH_VERBS } from "./search.ts";
import { TOKEN_VERBS } from "./tokens.ts";
import { NETWORK_VERBS } from "./networks.ts";
import { PROJECT_VERBS, ROBOT_VERBS, USER_VERBS } from "./projects.ts";
import { TRUST_VERBS } from "./trust.ts";
import { WEBHOOK_VERBS } from "./webhooks.ts";

/** Every verb. */
export const VERBS: readonly Verb[] = [
  ...COMMAND_VERBS,
  ...PROJECT_VERBS,
  ...USER_VERBS,
  ...GROUP_VERBS,
  ...DIRECTORY_VERBS,
  ...TOKEN_VERBS,
  ...SESSION_VERBS,
  ...ROBOT_VERBS,
  ...NETWORK_VERBS,
  ...TRUST_VERBS,
  ...WEBHOOK_VERBS,
  ...SEARCH_VERBS,
  ...CONTENT_VERBS,
  ...CLEANUP_VERBS,
  ...UPLOAD_VERBS,
  ...JOB_VERBS,
  ...AUDIT_VERBS,
  {
    words: "completion",
    summary: "Print what a shell needs to complete these commands",
    operations: [],
    arguments: [{ name: "SHELL", kind: "text", help: SHELLS.join(", ") }],
    commandOptions: [],
    run({ words: [shell = ""] }, { stdout }) {
      const script = completionScript(shell, VERBS);
      if (script === undefined) throw new Misuse(`there is no completion for ${shell}: there is for ${SHELLS.join(", ")}`);
      stdout.write(script);
      return Promise.resolve(EXIT.ok);
    },
  },
];
