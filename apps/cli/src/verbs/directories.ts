// Verbs on directories (LDAP). Not here: how they run (call.ts), their settings (the server's auth.ldap).
import * as directories from "@berth/api/directories";
import type { CallVerb } from "../verb.ts";

/** Verbs on directories. */
export const DIRECTORY_VERBS: readonly CallVerb[] = [
  {
    words: "directory list",
    summary: "List the directories whose people sign in",
    operations: [directories.listDirectories],
    arguments: [],
    options: [],
    columns: [
      { title: "NAME", of: "name" },
      { title: "STATE", of: ({ isAway }: directories.DirectoryView) => (isAway ? "away" : "-") },
      { title: "URLS", of: ({ urls }: directories.DirectoryView) => urls.join(" ") },
    ],
  },
  {
    words: "directory test",
    summary: "Look somebody up in a directory, and say what would become of them",
    operations: [directories.testDirectory],
    arguments: [
      { name: "DIRECTORY", kind: "text", into: "params.directory", help: "the directory's name" },
      { name: "USER", kind: "text", into: "body.user", help: "what somebody types as their name" },
    ],
    options: [],
    password: "optional",
    columns: [
      { title: "OUTCOME", of: "outcome" },
      { title: "REASON", of: "reason" },
      { title: "ACCOUNT", of: ({ account }: directories.DirectoryTestView) => account ?? "-" },
      { title: "ENTRY", of: ({ found }: directories.DirectoryTestView) => found?.dn ?? "-" },
      { title: "ROLE", of: ({ found }: directories.DirectoryTestView) => found?.systemRole ?? "-" },
      {
        title: "GROUPS",
        of: ({ found }: directories.DirectoryTestView) =>
          found === null || found.groups.length === 0
            ? "-"
            : found.groups.map(({ key, group }) => (group === null ? `${key} (none here)` : `${key} = ${group}`)).join("; "),
      },
    ],
  },
];
