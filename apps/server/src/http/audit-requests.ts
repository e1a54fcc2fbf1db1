// Which requests are noted for the audit log when they end: pulls, logins that were refused or let in, tokens, and what was refused to somebody.
// Changes are not: they are on record by the transaction that made them. Not here: counting and writing (features/audit/audit-notes.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { basicNameOf, type EndedRequest, referenceOf, type RequestLog } from "./request-log.ts";

/** What is said of a request. */
interface RequestNote {
  readonly action: string;
  readonly outcome?: "done" | "refused" | "failed";
  readonly actor: string;
  readonly actorId: number | null;
  readonly actorKind: "anonymous" | "robot" | "user";
  readonly address: string;
  readonly requestId: string;
  readonly project?: string | null;
  readonly repository?: string | null;
  readonly reference?: string | null;
  readonly digest?: string | null;
  readonly account?: string;
  readonly after?: object;
}

/** Takes what is noted; `isRare`: strangers may cause it, so that alike ones are one record for longer. */
export interface RequestNotes {
  /** `key`: what is counted together; made of the note where it is not given. */
  note(note: RequestNote, isRare: boolean, key?: string): void;
  /** Counts one more of what is not rare; false where none of this key is counted yet. A busy registry makes no note for most pulls. */
  again(key: string): boolean;
}

/** Codes that say that somebody may not. NAME_UNKNOWN is said of what is not there as well. */
const REFUSALS: ReadonlySet<string> = new Set(["DENIED", "UNAUTHORIZED", "NAME_UNKNOWN", "CROSS_SITE_REFUSED", "NETWORK_REFUSED"]);

/** Makes what notes requests, and hands them to the log as well. */
export function createAuditedRequests(notes: RequestNotes, recordsPulls: boolean, log: RequestLog | undefined): RequestLog {
  return {
    end(request, response, ended) {
      noteRequest({ notes, recordsPulls }, request, response, ended);
      log?.end(request, response, ended);
    },
  };
}

function noteRequest(
  { notes, recordsPulls }: { readonly notes: RequestNotes; readonly recordsPulls: boolean },
  request: IncomingMessage,
  response: ServerResponse,
  ended: EndedRequest,
): void {
  const { account, accountId, parsed, operation, code, refusedLogin, target } = ended.record;
  const who = (name: string | undefined): Omit<RequestNote, "action"> => ({
    actor: name ?? "",
    actorId: name === undefined ? null : (accountId ?? null),
    actorKind: name === undefined ? "anonymous" : name.includes("+") ? "robot" : "user",
    address: ended.remoteAddress,
    requestId: ended.id,
  });
  if (refusedLogin !== undefined) {
    notes.note({ ...who(undefined), action: "login.refused", outcome: "failed", account: refusedLogin, after: { code } }, true);
    return;
  }
  if (code !== undefined) {
    // Strangers are refused what they may not see all the time; where they come from a forbidden place, that is worth a record.
    if ((account === undefined && code !== "NETWORK_REFUSED") || !REFUSALS.has(code)) return;
    const repository = parsed !== undefined && "repository" in parsed ? parsed.repository : null;
    const what = { project: repository?.split("/")[0] ?? target?.["project"] ?? null, repository, reference: referenceOf(parsed) ?? null };
    const after = { code, operation: parsed?.kind ?? operation };
    notes.note({ ...who(account), ...what, action: "request.refused", outcome: "refused", after }, true);
    return;
  }
  if (parsed?.kind === "manifest-get") {
    if (!recordsPulls || request.method !== "GET" || (response.statusCode !== 200 && response.statusCode !== 304)) return;
    const { repository, reference } = parsed;
    const digest = reference.kind === "tag" ? null : reference.digest;
    const tag = reference.kind === "tag" ? reference.tag : null;
    const key = `${account ?? ""} ${ended.remoteAddress} ${repository} ${tag ?? digest}`;
    if (notes.again(key)) return;
    const pulled = { action: "manifest.pulled", project: repository.split("/")[0]!, repository, reference: tag, digest };
    notes.note({ ...who(account), ...pulled }, false, key);
    return;
  }
  if (account === undefined) return;
  if (operation === "token") notes.note({ ...who(account), action: "token.issued" }, true);
  else if (basicNameOf(request.headers.authorization) !== undefined) notes.note({ ...who(account), action: "login.accepted" }, true);
}
