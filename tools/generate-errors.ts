// Writes docs/errors.md: every error code with its status, its meaning and what to do about it. Here: the advice. Not here: the codes
// (packages/oci/src/errors.ts, packages/api/src/errors.ts).
import { API_ERROR_ROWS } from "@berth/api/errors";
import { ERROR_ROWS, type ErrorRow } from "@berth/oci/errors";

/** Advice for each code. A code without advice fails the generator. */
export const ADVICE: Readonly<Record<string, string>> = {
  BLOB_UNKNOWN: "Check the digest and the repository. If it was there before, push the image again.",
  BLOB_UPLOAD_INVALID:
    "Start the upload again; the client sent a part that does not fit. If it repeats, a proxy in between changes bodies.",
  BLOB_UPLOAD_UNKNOWN: "Push again: the upload session has ended, was aborted, or is older than `limits.uploadAgeSeconds`.",
  DIGEST_INVALID:
    "The bytes that arrived are not those that were announced. Push again; if it repeats, look for a proxy or disk that alters data.",
  MANIFEST_BLOB_UNKNOWN: "Push the layers, config or child manifests that `detail` names first, to the same repository.",
  MANIFEST_INVALID: "Correct what `detail` names. Registries accept OCI and Docker schema 2 manifests, not schema 1.",
  MANIFEST_UNKNOWN: "Check the tag or digest; list the repository's tags. A retention rule or a person may have deleted it.",
  NAME_INVALID: "Use lower case letters, digits, and single `.`, `_`, `-` or `/` between them, 255 characters at most.",
  NAME_UNKNOWN: "Check the repository's name. One that you may not read looks the same as one that does not exist.",
  SIZE_INVALID: "The body's length is not what Content-Length or the manifest says. Push again.",
  UNAUTHORIZED:
    "Do what the message says: log in with the right name and password, or see to the robot. Where no credentials came although you are logged in, a proxy removes the Authorization header.",
  DENIED: "Ask an owner of the project for the role that the message names, or use another account. Clients do not try again.",
  UNSUPPORTED: "The registry does not do this for this resource; `detail` says why.",
  NETWORK_REFUSED:
    "The message says whether the registry, the project or the robot may not be used from there, and the address that counts: behind a proxy that is not in `http.trustedProxies` it is the proxy's. Come from an allowed network, or have whoever keeps the list add this one.",
  PLANE_ELSEWHERE:
    "Pulls and pushes go to `http.listen`, administration (`berth`, the API, metrics) to `http.adminListen`: use the other address.",
  CROSS_SITE_REFUSED:
    "Use the console at its own address. If you do, a proxy in front hides that address: pass the Host header on with its port, name the proxy in `http.trustedProxies`, or set `http.publicUrl`.",
  TOOMANYREQUESTS:
    "Wait as long as Retry-After says. If it is usual load, raise `limits.concurrentUploads`; after failed logins, wait out `auth.lockout`.",
  TAG_INVALID: "Use up to 128 letters, digits, `_`, `.` and `-`, not starting with `.` or `-`.",
  PAGE_INVALID: "Follow the Link header, or the `next`, of the page before; `n` is a whole number.",
  RANGE_INVALID: "Ask the upload for its offset (GET on its address) and go on from there; for a pull, ask within the blob's size.",
  MANIFEST_TOO_LARGE: "Make the manifest smaller, or raise `limits.manifestBytes`.",
  BLOB_TOO_LARGE: "Split the layer, or raise `limits.uploadBytes`.",
  PRECONDITION_FAILED: "The tag, or the resource of the API, has changed since it was read. Read it again and decide anew.",
  UPLOADS_EXCEEDED:
    "Cancel (`DELETE`) the sessions that the detail names, or wait until `limits.uploadAgeSeconds` have ended what was left alone. An operator raises the setting that the message names.",
  URI_TOO_LONG: "Shorten the address: most often a page token or filter that was not copied whole.",
  HEADERS_TOO_LARGE: "Send fewer or shorter headers: 32 KiB at most. A token that names very many repositories is the usual reason.",
  REQUEST_TIMEOUT:
    "Check the network; the body paused longer than `http.bodyIdleTimeoutSeconds`, or came slower than `http.minimumUploadBytesPerSecond` while others waited, or its address held more than its share of the places. The upload can be resumed.",
  REQUEST_INVALID: "Correct what `detail` names.",
  CONFLICT: "Try again: somebody else was changing the same thing.",
  BLOB_DAMAGED: "Push the image again: the registry then replaces the damaged bytes. Check the disk or bucket.",
  DATABASE_DAMAGED:
    "Stop the registry and restore a backup: docs/guide/backup.md, A damaged database. Nothing is written meanwhile; what is whole is still read.",
  STORAGE_FOREIGN:
    "The log says which: tables that were taken away or replaced, a database file that was moved, or a store without the mark of this registry. Nothing is written until it is back; then all goes on by itself. docs/guide/operations.md, Nothing by a mistyped name.",
  DATABASE_VERSION:
    "The log says which version was found. Most often the database was taken back for an older release while this program ran: start that release's programs, or run `berth-server migrate` of this one. Nothing is written until then; then all goes on by itself. docs/guide/operations.md, Upgrade.",
  PROJECT_NEWER:
    "Update all replicas to the release that made the project's settings. Until then nothing is read or written in the project by the older ones, since what they do not know may forbid it; the log names the settings.",
  UPSTREAM_FAILED:
    "The project mirrors another registry, and what was asked for is not here yet. Try again after Retry-After; where it repeats, look up the request id in the registry's log: it says what the upstream did.",
  DIRECTORY_UNAVAILABLE:
    "Wait: the password is not wrong. Local accounts, robots and tokens go on working. `berth directory list` and the registry's log say what the directory (LDAP) did; docs/runbook/BerthDirectoryAway.md.",
  UNAVAILABLE:
    "Wait as long as Retry-After says. If it lasts, look at the log and /readyz: the database or the store is out of reach, or there is too much load.",
  STORAGE_FULL: "Free or add space. Deletions and collection go on and may free enough.",
  UNKNOWN: "Look up the request id in the registry's log and report it.",
  FIELD_INVALID: "Correct the field that `detail` names.",
  BODY_INVALID: "Send JSON; `detail` says where it breaks.",
  BODY_TOO_LARGE: "Send less at a time.",
  MEDIA_TYPE_UNSUPPORTED: "Send `Content-Type: application/json`.",
  NOT_ACCEPTABLE: "Send an `Accept` header with one of the media types in `detail.offered`, or none.",
  PRECONDITION_UNSUPPORTED: "Leave `If-Match` away, or use it where the API's document says that the operation takes it.",
  OPERATION_UNKNOWN: "Check the address and method against the API's description (docs/api/openapi.json).",
  PROJECT_UNKNOWN: "Check the name. A project that you may not read looks the same as one that does not exist.",
  PROJECT_EXISTS: "Choose another name, or use the project that is there.",
  PROJECTS_EXCEEDED:
    "Delete projects that nobody needs, or hand them over (`berth project transfer`); an administrator can make the project, or an operator raises `projects.ownedPerUser`.",
  PROJECT_NOT_EMPTY: "Delete the project's repositories first; `detail` says how many there are, and names some.",
  REPOSITORY_UNKNOWN: "Check the name. A repository that you may not pull from looks the same as one that does not exist.",
  MEMBER_UNKNOWN: "Add the account to the project first.",
  NETWORKS_EXCLUDE_CALLER: "`detail` has the address that counts. Allow it as well, or insist: `--force`, `force: true`.",
  LAST_OWNER: "Make another member owner first.",
  UPLOAD_UNKNOWN: "Nothing: the upload has ended. List the uploads for those that are open.",
  USER_UNKNOWN: "Check the user's name.",
  USER_EXISTS: "Choose another name.",
  LAST_ADMINISTRATOR: "Make another user administrator first.",
  PASSWORD_WRONG: "Type the current password again; an administrator can set a new one.",
  DIRECTORY_UNKNOWN: "Check the name: `berth directory list`. Directories are configured (`auth.ldap`).",
  GROUP_UNKNOWN: "Check the group's name.",
  GROUP_EXISTS: "Choose another name; what a provider calls a group belongs to one group here.",
  ROBOT_UNKNOWN: "Check the robot's name and its project.",
  ISSUER_UNKNOWN: "Check the issuer's name: `berth issuer list`. An administrator registers one.",
  ISSUER_EXISTS: "Choose another name, or change the issuer that is there.",
  ISSUER_IN_USE: "Delete the trust rules that name it, or disable it: then none of its tokens counts.",
  TRUST_RULE_UNKNOWN: "Check the rule's name: `berth trust list`.",
  TRUST_RULE_TOO_WIDE:
    "Demand the number of a repository, a project or a service account; `detail` says what is missing. Where so much is meant, set `isWide`.",
  TRUST_RULES_TOO_MANY: "A robot has 20 at most: use several values in one condition (`oneOf`), or another robot.",
  PLAN_UNKNOWN: "Make another plan: one that is not run is kept for a day, and ten of a repository at the most.",
  PLAN_CHANGED:
    "`detail.some` says what has changed since the plan was made: a tag was moved, or something else names a manifest now. Make another plan, and look at it.",
  PLAN_ENDED: "A plan is run once. Make another for what is left.",
  TOKEN_UNKNOWN: "List the tokens again: it may have ended, or been revoked by an administrator.",
  TOKENS_TOO_MANY: "Revoke what is not used any more: the list says when each was used last.",
  WEBHOOK_UNKNOWN: "Check the name: webhooks of a project are listed with the project, those of the registry by themselves.",
  WEBHOOK_EXISTS: "Choose another name, or change the webhook that is there.",
  WEBHOOKS_EXCEEDED: "Delete webhooks that nobody needs, or let one receiver pass changes on.",
  DELIVERY_UNKNOWN: "Deliveries are kept for seven days, the newest 1000 of a webhook: list them.",
  SESSION_UNKNOWN: "It ended meanwhile, or the number is of another user's: list the sessions again.",
  ROBOT_EXISTS: "Choose another name, or give the robot that is there a new secret.",
  JOB_UNKNOWN: "Check the number. Jobs that succeeded are forgotten after a day, cancelled ones after a week, failed ones after 30 days.",
  JOB_ENDED: "There is nothing to cancel; read the job to see how it ended.",
  JOB_NOT_FAILED: "Read the job: it waits, runs, or has succeeded.",
  SETTING_FIXED: "`detail.fixedBy` says where it is given: change it there and restart, or take it out to change it here.",
  SETTING_INVALID: "`detail` says which setting and what is wrong; `GET /api/v1/settings` lists those that can be changed.",
  JOB_EXISTS: "Nothing is to be done: the one that waits does the work. `detail` has its number.",
};

/** The text of docs/errors.md. Throws if a code has no advice, or advice has no code. */
export function generateErrors(): string {
  const tables: (readonly [string, Readonly<Record<string, ErrorRow>>])[] = [
    ["The registry (`/v2/`), and shared with the API", ERROR_ROWS],
    ["The API (`/api/`)", API_ERROR_ROWS],
  ];
  const codes = new Set(tables.flatMap(([, rows]) => Object.keys(rows)));
  const missing = [...codes].filter((code) => ADVICE[code] === undefined);
  const left = Object.keys(ADVICE).filter((code) => !codes.has(code));
  if (missing.length > 0) throw new Error(`tools/generate-errors.ts has no advice for ${missing.join(", ")}`);
  if (left.length > 0) throw new Error(`tools/generate-errors.ts has advice for codes that do not exist: ${left.join(", ")}`);
  const head = [
    "# Errors",
    "",
    'Every error is `{"errors":[{"code","message","detail"}]}`. The status is the usual one for the code. Written by `npm run generate`.',
  ];
  return `${[...head, ...tables.flatMap(([title, rows]) => ["", `## ${title}`, "", ...writeTable(rows)])].join("\n")}\n`;
}

function writeTable(rows: Readonly<Record<string, ErrorRow>>): string[] {
  const lines = Object.entries(rows)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, { status, message, spec }]) => `| \`${code}\` | ${status} | ${message} | ${ADVICE[code] ?? ""} | ${spec} |`);
  return ["| code | status | meaning | what to do | source |", "|---|---|---|---|---|", ...lines];
}
