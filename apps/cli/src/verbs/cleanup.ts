// Verbs that untag or delete many at once, by a plan. Not here: what runs them (../call.ts), taking away one (content.ts).
import * as deletions from "@berth/api/deletions";
import { sizeText, timeText } from "../print.ts";
import type { Argument, CallVerb, Column } from "../verb.ts";
import { REPOSITORY } from "./arguments.ts";

const PLAN: Argument = { name: "PLAN", kind: "text", into: "params.plan", help: "a plan's number: see berth cleanup plan" };

const PLAN_COLUMNS: readonly Column[] = [
  { title: "PLAN", of: "id" },
  { title: "STATE", of: "state" },
  { title: "ACTION", of: "action" },
  { title: "TAGS", of: "tags" },
  { title: "MANIFESTS", of: "manifests" },
  { title: "FREES", of: ({ freedBytes }: { freedBytes: number }) => sizeText(freedBytes) },
  { title: "STAY", of: "stays" },
  { title: "DELETED", of: "deleted" },
  { title: "KEPT", of: "kept" },
  { title: "REST AFTER", of: "next", wide: true },
  { title: "ERROR", of: "error", wide: true },
  { title: "EXPIRES", of: ({ expiresAt }: { expiresAt: string }) => timeText(expiresAt), wide: true },
];

/** Verbs on plans. */
export const CLEANUP_VERBS: readonly CallVerb[] = [
  {
    words: "cleanup plan",
    summary: "Plan to untag or delete many: says what would go, and changes nothing",
    operations: [deletions.createDeletionPlan],
    arguments: [REPOSITORY, { name: "ACTION", kind: "text", into: "body.action", help: "untag: tags go; delete: what they name as well" }],
    options: [
      { name: "tag", kind: "texts", into: "body.tags", value: "TAG", help: "this tag, or what it names; several times" },
      { name: "prefix", kind: "text", into: "body.prefix", value: "TEXT", help: "tags that begin so, or what they name" },
      { name: "digest", kind: "texts", into: "body.digests", value: "DIGEST", help: "this manifest; several times" },
      { name: "untagged", kind: "true", into: "body.untagged", help: "manifests without a tag" },
      {
        name: "before",
        kind: "past",
        into: "body.pushedBefore",
        value: "TIME",
        help: "of these only what was pushed before, such as 30d ago",
      },
      { name: "type", kind: "text", into: "body.artifactType", value: "TYPE", help: "of these only this artifact type" },
      { name: "after", kind: "text", into: "body.after", value: "PLACE", help: "only what lies behind it: REST AFTER of a plan" },
    ],
    columns: PLAN_COLUMNS,
  },
  {
    words: "cleanup show",
    summary: "Show a plan, and how far its run is",
    operations: [deletions.getDeletionPlan],
    arguments: [REPOSITORY, PLAN],
    options: [],
    columns: PLAN_COLUMNS,
  },
  {
    words: "cleanup items",
    summary: "List what a plan takes away, and what stays because of what",
    operations: [deletions.listDeletionItems],
    arguments: [REPOSITORY, PLAN],
    options: [],
    columns: [
      { title: "KIND", of: "kind" },
      { title: "TAG", of: "tag" },
      { title: "DIGEST", of: "digest" },
      {
        title: "STAYS",
        of: ({ stays }: { stays: { because: string; of: string } | null }) => (stays === null ? "-" : `${stays.because}: ${stays.of}`),
      },
      { title: "OUTCOME", of: "outcome" },
    ],
  },
  {
    words: "cleanup run",
    summary: "Do what a plan says, in the background",
    operations: [deletions.runDeletionPlan],
    arguments: [REPOSITORY, PLAN],
    options: [],
    columns: PLAN_COLUMNS,
    destroys: "Delete all that the plan {} says?",
  },
  {
    words: "cleanup cancel",
    summary: "Stop the run of a plan, or drop a plan; what is deleted stays deleted",
    operations: [deletions.cancelDeletionPlan],
    arguments: [REPOSITORY, PLAN],
    options: [],
    columns: PLAN_COLUMNS,
  },
];
