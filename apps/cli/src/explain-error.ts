// Prints errors: what happened, what to do about it, and the request id in the registry's log. Not here: every code (docs/errors.md).
import { CallError, ConnectionError } from "@berth/api-client/errors";
import { EXIT, Misuse, Stopped } from "./misuse.ts";
import { note, type Streams } from "./streams.ts";

/** Advice for the codes that users of this program meet. */
const ADVICE: Readonly<Record<string, string>> = {
  UNAUTHORIZED:
    "Log in: berth login REGISTRY. Where you have: the name or the password is wrong, or the account is disabled or has expired.",
  DENIED:
    "The account, or the token that you are logged in with, may not do this. An owner of the project or an administrator can give the account a role; see who you are with berth whoami.",
  TOOMANYREQUESTS: "Wait a moment, then try again.",
  UNAVAILABLE: "Try again; if it stays so, ask the registry's operator.",
  PRECONDITION_FAILED: "Somebody else changed it: read it again, then repeat.",
  PROJECT_UNKNOWN: "See which projects there are: berth project list. A project that you may not see is answered so too.",
  REPOSITORY_UNKNOWN: "See which repositories there are: berth repo list PROJECT.",
  MANIFEST_UNKNOWN: "See which tags there are: berth tag list PROJECT/NAME.",
  PROJECT_NOT_EMPTY: "Delete its repositories first: berth repo list PROJECT, berth repo delete PROJECT/NAME.",
  USER_UNKNOWN: "See which users there are: berth user list.",
  GROUP_UNKNOWN: "See which groups there are: berth group list.",
  TOKEN_UNKNOWN: "A token is named by its ID: see berth token list.",
  ISSUER_UNKNOWN: "See which issuers there are: berth issuer list. An administrator registers one: berth issuer create.",
  TRUST_RULE_TOO_WIDE:
    "Add a --claim that names one repository, project or service account. Where everybody of an organisation is meant, give --wide.",
  WEBHOOK_UNKNOWN: "See which webhooks there are: berth webhook list PROJECT.",
  PLAN_UNKNOWN: "Make a new plan: berth cleanup plan.",
  PLAN_CHANGED: "Make a new plan, and look at it: berth cleanup plan, berth cleanup items.",
  ROBOT_UNKNOWN: "See which robots there are: berth robot list PROJECT.",
  MEMBER_UNKNOWN: "See who is a member: berth member list PROJECT.",
  JOB_UNKNOWN: "See which jobs there are: berth job list.",
  OPERATION_UNKNOWN: "This program is newer than the registry, or the path is wrong.",
  UNKNOWN: "The registry failed. Its log has the cause under the request id.",
};

const CERTIFICATE_ADVICE =
  "If the registry's certificate comes from an authority of your own, give that authority's certificate: --ca-file FILE (berth login keeps it). " +
  "Do not go on without: somebody else may be answering.";

/** Prints an error; returns the exit code. An unexpected error is rethrown. */
export function explainError(error: unknown, streams: Streams): number {
  if (error instanceof Misuse) {
    note(streams, `berth: ${error.message}`);
    return EXIT.misuse;
  }
  if (streams.signal.aborted) return EXIT.interrupted;
  if (error instanceof Stopped) note(streams, `berth: ${error.message}`);
  else if (error instanceof CallError) explainCall(error, streams);
  else if (error instanceof ConnectionError) explainConnection(error, streams);
  else throw error;
  return EXIT.failed;
}

function explainCall(error: CallError, streams: Streams): void {
  note(streams, `berth: ${error.message} (${error.code}, status ${error.status})`);
  for (const line of linesOf(error.detail)) note(streams, `  ${line}`);
  const wait = error.retryAfterSeconds === undefined ? "" : ` The registry says: in ${error.retryAfterSeconds} s.`;
  const advice = ADVICE[error.code];
  if (advice !== undefined || wait !== "") note(streams, `${advice ?? ""}${wait}`.trim());
  if (error.requestId !== undefined) note(streams, `request id: ${error.requestId}`);
}

/** The lines of a detail, which is a list of problems, an object or a text. */
function linesOf(detail: unknown): readonly string[] {
  if (detail === undefined || detail === null) return [];
  if (typeof detail === "string") return [detail];
  const all = Array.isArray(detail) ? detail : [detail];
  return all.map((each: unknown) => {
    const { field, reason } = (each ?? {}) as { readonly field?: unknown; readonly reason?: unknown };
    return typeof field === "string" && typeof reason === "string" ? `${field}: ${reason}` : JSON.stringify(each);
  });
}

function explainConnection(error: ConnectionError, streams: Streams): void {
  note(streams, `berth: ${error.message}`);
  if (error.problem === "certificate") note(streams, CERTIFICATE_ADVICE);
  else if (error.systemCode === "ERR_SSL_WRONG_VERSION_NUMBER" || error.systemCode === "ERR_SSL_PACKET_LENGTH_TOO_LONG") {
    note(streams, "What answers there speaks plain HTTP: write the registry as http://HOST if that is meant.");
  } else if (error.problem === "not-berth")
    note(streams, "Is the address that of a Berth, and of nothing in front of it? See berth context list.");
  else note(streams, "Is the address right (berth context list), does the registry run, and does nothing on the way stop the connection?");
}
