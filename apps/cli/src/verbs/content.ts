// Verbs on repositories, tags, manifests, usage and jobs. Not here: running them (../call.ts), following a job (../commands/follow-job.ts).
import * as jobs from "@berth/api/jobs";
import * as manifests from "@berth/api/manifests";
import * as repositories from "@berth/api/repositories";
import * as uploads from "@berth/api/uploads";
import { sizeText, timeText } from "../print.ts";
import type { Argument, CallVerb, Column } from "../verb.ts";
import { PROJECT, REPOSITORY } from "./arguments.ts";

const TAG: Argument = { name: "TAG", kind: "tag", help: "PROJECT/NAME:TAG, such as team/app:v1" };
const JOB: Argument = { name: "JOB", kind: "text", into: "params.job", help: "a job's number" };

interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | null;
}
const platformText = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, ...(variant === null ? [] : [variant])].join("/");
const sizeBytes: Column = { title: "SIZE", of: ({ sizeBytes }: { sizeBytes: number | null }) => sizeText(sizeBytes) };
const pushedAt: Column = { title: "PUSHED", of: ({ pushedAt }: { pushedAt: string }) => timeText(pushedAt) };
const pulledAt: Column = {
  title: "PULLED",
  of: ({ pulledAt }: { pulledAt: string | null }) => timeText(pulledAt),
  wide: true,
};
const artifactType: Column = { title: "TYPE", of: "artifactType", wide: true };

const REPOSITORY_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "TAGS", of: "usage.tags" },
  { title: "MANIFESTS", of: "usage.manifests" },
  { title: "SIZE", of: ({ usage }: { usage: { sizeBytes: number } }) => sizeText(usage.sizeBytes) },
  { title: "PULLS", of: "pulls" },
  { title: "UPDATED", of: ({ updatedAt }: { updatedAt: string }) => timeText(updatedAt) },
  { title: "PULLED", of: ({ pulledAt }: { pulledAt: string | null }) => timeText(pulledAt), wide: true },
  { title: "BLOBS", of: "usage.blobs", wide: true },
  { title: "CREATED", of: ({ createdAt }: { createdAt: string }) => timeText(createdAt), wide: true },
];
const TAG_COLUMNS: readonly Column[] = [
  { title: "TAG", of: "name" },
  { title: "DIGEST", of: "digest" },
  sizeBytes,
  { title: "PLATFORMS", of: ({ platforms }: { platforms: readonly Platform[] }) => platforms.map(platformText).join(",") || "-" },
  pushedAt,
  { title: "BY", of: "pushedBy" },
  pulledAt,
  artifactType,
  { title: "MEDIA TYPE", of: "mediaType", wide: true },
];
const MANIFEST_COLUMNS: readonly Column[] = [
  { title: "DIGEST", of: "digest" },
  sizeBytes,
  { title: "TAGS", of: "tags" },
  pushedAt,
  pulledAt,
  artifactType,
  { title: "SUBJECT", of: "subject", wide: true },
  { title: "MEDIA TYPE", of: "mediaType", wide: true },
];
const MANIFEST_DETAIL: readonly Column[] = [
  { title: "DIGEST", of: "digest" },
  { title: "MEDIA TYPE", of: "mediaType" },
  { title: "TYPE", of: "artifactType" },
  { title: "SIZE", of: ({ contentSizeBytes }: { contentSizeBytes: number }) => sizeText(contentSizeBytes) },
  { title: "ITS OWN", of: ({ uniqueSizeBytes }: { uniqueSizeBytes: number | null }) => sizeText(uniqueSizeBytes) },
  { title: "PLATFORM", of: ({ platform }: { platform: Platform | null }) => (platform === null ? "-" : platformText(platform)) },
  pushedAt,
  { title: "TAGS", of: "tags" },
  { title: "LAYERS", of: ({ layers }: { layers: readonly unknown[] }) => String(layers.length) },
  {
    title: "CHILDREN",
    of: ({ children }: { children: readonly { readonly digest: string; readonly platform: Platform | null }[] }) =>
      children.map((each) => (each.platform === null ? each.digest : `${platformText(each.platform)} ${each.digest}`)).join(", ") || "-",
  },
  {
    title: "REFERRERS",
    of: ({ referrers }: { referrers: readonly { readonly digest: string; readonly artifactType: string | null }[] }) =>
      referrers.map((each) => `${each.artifactType ?? "-"} ${each.digest}`).join(", ") || "-",
  },
  { title: "SUBJECT", of: "subject.digest" },
  {
    title: "ANNOTATIONS",
    of: ({ annotations }: { annotations: readonly { name: string; value: string }[] }) =>
      annotations.map(({ name, value }) => `${name}=${value}`).join(", ") || "-",
    wide: true,
  },
  { title: "CONFIG", of: "config.digest", wide: true },
];
interface JobRow {
  readonly progress: { readonly done: number; readonly total: number | null } | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly createdAt: string;
}
const JOB_COLUMNS: readonly Column[] = [
  { title: "JOB", of: "id" },
  { title: "KIND", of: "kind" },
  { title: "SUBJECT", of: "subject" },
  { title: "STATE", of: "state" },
  {
    title: "PROGRESS",
    of: ({ progress }: JobRow) => (progress === null ? "-" : `${progress.done}${progress.total === null ? "" : `/${progress.total}`}`),
  },
  { title: "CREATED", of: ({ createdAt }: JobRow) => timeText(createdAt) },
  { title: "ENDED", of: ({ endedAt }: JobRow) => timeText(endedAt) },
  { title: "PROJECT", of: "project", wide: true },
  { title: "ATTEMPT", of: "attempt", wide: true },
  { title: "STARTED", of: ({ startedAt }: JobRow) => timeText(startedAt), wide: true },
  { title: "ERROR", of: "error", wide: true },
];

/** Verbs on stored content. */
export const CONTENT_VERBS: readonly CallVerb[] = [
  {
    words: "repo list",
    summary: "List the repositories of a project",
    operations: [repositories.listRepositories],
    arguments: [PROJECT],
    options: [],
    columns: REPOSITORY_COLUMNS,
  },
  {
    words: "repo show",
    summary: "Show a repository",
    operations: [repositories.getRepository],
    arguments: [REPOSITORY],
    options: [],
    columns: REPOSITORY_COLUMNS,
  },
  {
    words: "repo delete",
    summary: "Delete a repository with everything in it; its space is freed in the background",
    operations: [repositories.deleteRepository],
    arguments: [REPOSITORY],
    options: [],
    columns: [],
    destroys: "Delete the repository {} with all its tags and manifests?",
    done: "The repository {} is deleted. Its space is freed in the background.",
  },
  {
    words: "repo export",
    summary: "Print what each repository of a project holds, however many there are, as they come",
    operations: [repositories.exportRepositories],
    arguments: [PROJECT],
    options: [],
    columns: REPOSITORY_COLUMNS,
  },
  {
    words: "tag list",
    summary: "List the tags of a repository",
    operations: [manifests.listTags],
    arguments: [REPOSITORY],
    options: [
      { name: "prefix", kind: "text", into: "query.prefix", value: "TEXT", help: "only tags that begin so" },
      { name: "sort", kind: "text", into: "query.sort", help: "name, version, pushed or size" },
      { name: "order", kind: "text", into: "query.order", help: "names ascend and the rest descends where it is not given" },
      { name: "type", kind: "text", into: "query.artifactType", value: "TYPE", help: "only those of this artifact type" },
      { name: "media-type", kind: "text", into: "query.mediaType", value: "TYPE", help: "only those of this media type" },
    ],
    columns: TAG_COLUMNS,
  },
  {
    words: "tag history",
    summary: "List what a tag named, the newest first; of deleted tags too",
    operations: [manifests.listTagHistory],
    arguments: [TAG],
    options: [],
    columns: [
      { title: "AT", of: ({ at }: { at: string }) => timeText(at) },
      { title: "DIGEST", of: ({ digest }: { digest: string | null }) => digest ?? "(deleted)" },
      { title: "BY", of: "by" },
    ],
  },
  {
    words: "tag delete",
    summary: "Delete a tag; the manifest stays",
    operations: [manifests.deleteTag],
    arguments: [TAG],
    options: [],
    columns: [],
    destroys: "Delete the tag {}? What it names stays.",
    done: "The tag {} is deleted.",
  },
  {
    words: "manifest list",
    summary: "List the manifests of a repository",
    operations: [manifests.listManifests],
    arguments: [REPOSITORY],
    options: [
      { name: "tagged", kind: "true", into: "query.isTagged", help: "only those with a tag" },
      { name: "untagged", kind: "false", into: "query.isTagged", help: "only those without one" },
      { name: "type", kind: "text", into: "query.artifactType", value: "TYPE", help: "only those of this artifact type" },
      { name: "media-type", kind: "text", into: "query.mediaType", value: "TYPE", help: "only those of this media type" },
    ],
    columns: MANIFEST_COLUMNS,
  },
  {
    words: "manifest show",
    summary: "Show what a manifest is made of, and what is attached to it",
    operations: [manifests.getManifest],
    arguments: [{ name: "IMAGE", kind: "reference", help: "PROJECT/NAME:TAG or PROJECT/NAME@DIGEST" }],
    options: [],
    columns: MANIFEST_DETAIL,
  },
  {
    words: "manifest content",
    summary: "Show a manifest as it was pushed",
    operations: [manifests.getManifestContent],
    arguments: [{ name: "IMAGE", kind: "reference", help: "PROJECT/NAME:TAG or PROJECT/NAME@DIGEST" }],
    options: [],
    columns: [{ title: "CONTENT", of: "content" }],
  },
  {
    words: "manifest delete",
    summary: "Delete a manifest with its tags; its space is freed in the background",
    operations: [manifests.deleteManifest],
    arguments: [{ name: "IMAGE", kind: "digest", help: "PROJECT/NAME@DIGEST" }],
    options: [],
    columns: [],
    destroys: "Delete the manifest {} and every tag that names it?",
    done: "The manifest {} is deleted.",
  },
  {
    words: "usage",
    summary: "Show what the registry stores",
    operations: [repositories.getUsage],
    arguments: [],
    options: [],
    columns: [{ title: "BLOBS", of: "blobs" }, sizeBytes],
  },
];

/** Verbs on uploads in progress. */
export const UPLOAD_VERBS: readonly CallVerb[] = [
  {
    words: "upload list",
    summary: "List the uploads that have not ended",
    operations: [uploads.listUploads],
    arguments: [],
    options: [],
    columns: [
      { title: "UPLOAD", of: "id" },
      { title: "REPOSITORY", of: "repository" },
      { title: "BY", of: "startedBy" },
      { title: "RECEIVED", of: ({ receivedBytes }: { receivedBytes: number }) => sizeText(receivedBytes) },
      { title: "ACTIVE", of: "isActive" },
      { title: "STARTED", of: ({ startedAt }: { startedAt: string }) => timeText(startedAt) },
      { title: "EXPIRES", of: ({ expiresAt }: { expiresAt: string }) => timeText(expiresAt), wide: true },
    ],
  },
  {
    words: "upload cancel",
    summary: "End an upload, with the bytes that have come",
    operations: [uploads.cancelUpload],
    arguments: [{ name: "UPLOAD", kind: "text", into: "params.upload", help: "its id: see berth upload list" }],
    options: [],
    columns: [],
    destroys: "End the upload {}?",
    done: "The upload {} is ended.",
  },
];

/** Verbs on background jobs. */
export const JOB_VERBS: readonly CallVerb[] = [
  {
    words: "job list",
    summary: "List background jobs, the newest first",
    operations: [jobs.listJobs],
    arguments: [],
    options: [
      { name: "kind", kind: "text", into: "query.kind", value: "KIND", help: "only those of a kind, such as repository-removal" },
      { name: "state", kind: "text", into: "query.state", help: "only those in a state" },
      { name: "project", kind: "text", into: "query.project", value: "PROJECT", help: "only those of a project" },
    ],
    columns: JOB_COLUMNS,
  },
  {
    words: "job show",
    summary: "Show a job with what it said",
    operations: [jobs.getJob],
    arguments: [JOB],
    options: [],
    columns: [
      ...JOB_COLUMNS.map(({ title, of }) => ({ title, of })),
      { title: "LINES", of: ({ lines }: { lines: readonly { line: string }[] }) => lines.map(({ line }) => line).join("; ") || "-" },
    ],
  },
  {
    words: "job cancel",
    summary: "Cancel a job",
    operations: [jobs.cancelJob],
    arguments: [JOB],
    options: [],
    columns: JOB_COLUMNS,
    destroys: "Cancel the job {}?",
  },
  {
    words: "job retry",
    summary: "Have a job that failed or was cancelled tried again",
    operations: [jobs.retryJob],
    arguments: [JOB],
    options: [],
    columns: JOB_COLUMNS,
  },
];
