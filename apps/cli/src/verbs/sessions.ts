// Verbs on people's sessions in browsers. Not here: what runs them (../call.ts).
import * as sessions from "@berth/api/sessions";
import { timeText } from "../print.ts";
import type { Argument, CallVerb } from "../verb.ts";
import { OWNER } from "./arguments.ts";

const SESSION: Argument = { name: "SESSION", kind: "text", into: "params.session", help: "a session's number: see berth session list" };

interface Row {
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly lastUsedAt: string | null;
  readonly provider: string | null;
}

/** Verbs on sessions. */
export const SESSION_VERBS: readonly CallVerb[] = [
  {
    words: "session list",
    summary: "List your sessions in browsers, or a user's",
    operations: [sessions.listUserSessions, sessions.listMySessions],
    arguments: [OWNER],
    options: [],
    columns: [
      { title: "ID", of: "id" },
      { title: "BROWSER", of: "browser" },
      { title: "SIGNED IN BY", of: ({ provider }: Row) => provider ?? "password" },
      { title: "EXPIRES", of: ({ expiresAt }: Row) => timeText(expiresAt) },
      { title: "LAST USED", of: ({ lastUsedAt }: Row) => (lastUsedAt === null ? "never" : timeText(lastUsedAt)) },
      { title: "FROM", of: "lastAddress" },
      { title: "CREATED", of: ({ createdAt }: Row) => timeText(createdAt), wide: true },
    ],
  },
  {
    words: "session end",
    summary: "End a session of yours, or of a user, at once",
    operations: [sessions.endUserSession, sessions.endMySession],
    arguments: [SESSION, OWNER],
    options: [],
    columns: [],
    destroys: "End the session {}? Who uses it has to sign in again.",
    done: "The session {} is ended.",
  },
  {
    words: "session end-all",
    summary: "End all your sessions in browsers, or a user's, at once",
    operations: [sessions.endUserSessions, sessions.endMySessions],
    arguments: [OWNER],
    options: [],
    columns: [{ title: "ENDED", of: "ended" }],
    destroys: "End all sessions? Who uses one has to sign in again.",
    done: "All sessions are ended.",
  },
];
