// Verbs on the audit log. Not here: running them (../call.ts), verifying (../commands/verify-audit.ts).
import * as audit from "@berth/api/audit";
import { verifyAudit } from "../commands/verify-audit.ts";
import { timeText } from "../print.ts";
import type { Column, Option, Verb } from "../verb.ts";

const RECORD_COLUMNS: readonly Column[] = [
  { title: "RECORD", of: "id", wide: true },
  { title: "TIME", of: ({ at }: { at: string }) => timeText(at) },
  { title: "ACTOR", of: ({ actor }: audit.AuditRecordView) => (actor.name === "" ? actor.kind : actor.name) },
  { title: "ACTION", of: "action" },
  { title: "OUTCOME", of: "outcome" },
  { title: "TARGET", of: targetOf },
  { title: "TIMES", of: "times", wide: true },
  { title: "VIA", of: "actor.via", wide: true },
  { title: "ADDRESS", of: "address", wide: true },
  { title: "REQUEST", of: "requestId", wide: true },
  { title: "BEFORE", of: ({ before }: audit.AuditRecordView) => stateText(before), wide: true },
  { title: "AFTER", of: ({ after }: audit.AuditRecordView) => stateText(after), wide: true },
];

function targetOf({ repository, reference, digest, project, account, before, after }: audit.AuditRecordView): string {
  const content =
    repository === null
      ? project
      : reference === null
        ? `${repository}${digest === null ? "" : `@${digest}`}`
        : `${repository}:${reference}`;
  return [content, account, namedIn(after ?? before)].filter((each) => each !== null).join(" ") || "-";
}

/** What has no column of its own: a group, a webhook, an issuer, a token, a setting. */
function namedIn(state: object | null): string | null {
  for (const word of ["group", "webhook", "issuer", "token", "setting"]) {
    const name: unknown = (state as Record<string, unknown> | null)?.[word];
    if (typeof name === "string") return name;
  }
  return null;
}

function stateText(state: object | null): string {
  return state === null ? "-" : JSON.stringify(state);
}

const FILTERS: readonly Option[] = [
  { name: "action", kind: "text", into: "query.action", value: "ACTION", help: "only this action, or tag.* for all of a subject" },
  { name: "outcome", kind: "text", into: "query.outcome", help: "done, refused or failed" },
  { name: "actor", kind: "text", into: "query.actor", value: "NAME", help: "only what this account did" },
  { name: "account", kind: "text", into: "query.account", value: "NAME", help: "only what was done to this account" },
  { name: "repository", kind: "text", into: "query.repository", value: "REPOSITORY", help: "only what happened to this repository" },
  { name: "digest", kind: "text", into: "query.digest", value: "DIGEST", help: "only what happened to this manifest" },
  { name: "address", kind: "text", into: "query.address", value: "ADDRESS", help: "only what came from this address" },
  { name: "request", kind: "text", into: "query.requestId", value: "ID", help: "only what this request did" },
  { name: "from", kind: "past", into: "query.from", value: "TIME", help: "only what happened since, such as 30d ago" },
  { name: "to", kind: "past", into: "query.to", value: "TIME", help: "only what happened before" },
];
const OF_PROJECT: Option = {
  name: "project",
  kind: "text",
  into: "query.project",
  value: "PROJECT",
  help: "only what happened in a project",
};
const ORDER: Option = { name: "order", kind: "text", into: "query.order", help: "newest or oldest first; newest where it is not given" };

/** Verbs on the audit log. */
export const AUDIT_VERBS: readonly Verb[] = [
  {
    words: "audit list",
    summary: "List what happened in the registry, the newest first",
    operations: [audit.listAudit],
    arguments: [],
    options: [OF_PROJECT, ...FILTERS, ORDER],
    columns: RECORD_COLUMNS,
  },
  {
    words: "audit export",
    summary: "Print what happened in the registry, the oldest first, as it comes",
    operations: [audit.exportAudit],
    arguments: [],
    options: [
      { name: "after", kind: "text", into: "query.after", value: "RECORD", help: "only what was put on record after this one" },
      OF_PROJECT,
      ...FILTERS,
    ],
    columns: RECORD_COLUMNS,
  },
  {
    words: "audit segments",
    summary: "List the segments of the audit log, with the checkpoints that prove it: keep them elsewhere",
    operations: [audit.listAuditSegments],
    arguments: [],
    options: [],
    columns: [
      { title: "SEGMENT", of: "number" },
      { title: "FIRST", of: "firstId" },
      { title: "LAST", of: "lastId" },
      { title: "SIGNED", of: ({ signedAt }: { signedAt: string }) => timeText(signedAt) },
      { title: "SEALED", of: ({ sealedAt }: { sealedAt: string | null }) => (sealedAt === null ? "-" : timeText(sealedAt)) },
      { title: "HASH", of: "hash", wide: true },
      { title: "KEY", of: "keyId", wide: true },
      { title: "SIGNATURE", of: "signature", wide: true },
    ],
  },
  {
    words: "audit verify",
    summary: "Prove that nobody changed the audit log, or name what was changed",
    operations: [audit.verifyAudit],
    arguments: [],
    commandOptions: [],
    run: verifyAudit,
  },
  {
    words: "project audit",
    summary: "List what happened in a project, the newest first",
    operations: [audit.listProjectAudit],
    arguments: [{ name: "PROJECT", kind: "text", into: "params.project", help: "a project's name" }],
    options: [...FILTERS, ORDER],
    columns: RECORD_COLUMNS,
  },
];
