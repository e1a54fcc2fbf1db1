// What the audit log says of something that happened: one shape for changes, pulls, sign-ins and refusals, made here from what each of them says.
// Pure. Not here: where entries wait and get their numbers (audit-sink.ts, audit-sealing.ts).
import { MAX_REPOSITORY_NAME_LENGTH } from "@berth/oci/reference";
import type { Actor } from "../../access/actor.ts";
import type { Change } from "../../access/changes.ts";
import type { SignIn } from "../../access/sign-in.ts";
import type { AUDIT_OUTCOMES } from "./audit-tables.ts";

/** How what was tried ended: it was done; the registry's rules forbade it; it was tried in vain, as a wrong password is. */
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

/** A record before it has its number. Texts hold nothing that a database's text cannot. */
export interface AuditEntry {
  /** In milliseconds since 1970. */
  readonly at: number;
  /** As `subject.verb`. */
  readonly action: string;
  readonly outcome: AuditOutcome;
  readonly actorKind: Actor["kind"];
  readonly actorId: number | null;
  /** Empty for anonymous. */
  readonly actor: string;
  /** How the actor signed in. */
  readonly via: string | null;
  readonly address: string | null;
  readonly requestId: string | null;
  readonly projectId: number | null;
  readonly project: string | null;
  readonly repository: string | null;
  readonly reference: string | null;
  readonly digest: string | null;
  /** The account to which it was done. */
  readonly account: string | null;
  /** How often: what is alike and comes many times is one record. */
  readonly times: number;
  /** JSON of an object. */
  readonly before: string | null;
  readonly after: string | null;
}

/** What those who note something say; what is not said is null. */
export type AuditNote = Pick<AuditEntry, "at" | "action"> & Partial<Omit<AuditEntry, "before" | "after">> & { readonly after?: object };

/** Longer text is cut: names are shorter, and what a client sent must not fill the log. */
const MAX_TEXT = MAX_REPOSITORY_NAME_LENGTH;
/** Bytes of a state that are kept, as of a robot with the most and longest scopes. */
const MAX_STATE = 64 * 1024;

/** What no change says of itself as a state: it is in columns. */
const IN_COLUMNS = new Set([
  "kind",
  "project",
  "projectId",
  "repository",
  "repositoryId",
  "tag",
  "digest",
  "account",
  "accountId",
  "from",
  "to",
  "before",
]);

/** What ends lines, steers terminals or turns the direction of text: strangers try to sign in by any name, and a record is read as it stands. */
const STEERING = /[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/** Text as both databases take it and as it can be shown, or null. */
function textOf(value: unknown): string | null {
  return typeof value === "string" ? value.slice(0, MAX_TEXT).replaceAll(STEERING, "\u{fffd}").toWellFormed() : null;
}

function numberOf(value: unknown): number | null {
  return Number.isSafeInteger(value) ? (value as number) : null;
}

function stateOf(state: Readonly<Record<string, unknown>>): string | null {
  const known = Object.entries(state).filter(([, value]) => value !== undefined);
  if (known.length === 0) return null;
  const json = JSON.stringify(Object.fromEntries(known)).toWellFormed();
  return json.length <= MAX_STATE ? json : JSON.stringify({ isCut: true, begins: json.slice(0, MAX_TEXT).toWellFormed() });
}

/** How an actor signed in, as one word with what names the credential: "password", "personal-token 12", "registry-token by password"; null without any. */
export function signInText(via: SignIn): string | null {
  switch (via.kind) {
    case "none":
      return null;
    case "registry-token":
      return via.by.kind === "none" ? via.kind : `${via.kind} by ${signInText(via.by)}`;
    case "oidc":
      return textOf(`${via.kind} ${via.issuer}`);
    case "ldap":
      return textOf(`${via.kind} ${via.provider}`);
    default:
      return "id" in via ? `${via.kind} ${via.id}` : via.kind;
  }
}

/** Who did something, in an entry's words. */
export function actorPart(actor: Actor): Pick<AuditEntry, "actorKind" | "actorId" | "actor" | "via" | "address" | "requestId"> {
  const { kind, accountId, name, origin, via } = actor;
  return {
    actorKind: kind,
    actorId: accountId,
    actor: textOf(name) ?? "",
    via: signInText(via),
    address: textOf(origin?.address),
    requestId: textOf(origin?.requestId),
  };
}

/**
 * The entry of a change, whichever its kind: names in it that all changes share become columns, `before` and `from` the state before, and all
 * else the state after. So a kind that is added is on record without a line here.
 */
export function entryOfChange(at: number, actor: Actor, change: Change): AuditEntry {
  const said = change as Change & Readonly<Record<string, unknown>>;
  const { project, repository, before, from, to } = said;
  const word = change.kind.startsWith("tag.") ? "digest" : "role";
  const rest = Object.entries(said).filter(([name]) => !IN_COLUMNS.has(name));
  return {
    at,
    action: textOf(change.kind) ?? "",
    outcome: "done",
    ...actorPart(actor),
    projectId: numberOf(said.projectId),
    project: textOf(project) ?? textOf(typeof repository === "string" ? repository.split("/")[0] : undefined),
    repository: textOf(repository),
    reference: textOf(said.tag),
    digest: textOf(said.digest) ?? (word === "digest" ? textOf(to) : null),
    account: textOf(said.account),
    times: 1,
    before: stateOf({ ...(typeof before === "object" ? before : {}), [word]: from }),
    after: stateOf({ ...Object.fromEntries(rest), [word]: to }),
  };
}

/** The entry of what somebody noted. */
export function entryOfNote(note: AuditNote): AuditEntry {
  return {
    at: note.at,
    action: note.action,
    outcome: note.outcome ?? "done",
    actorKind: note.actorKind ?? "anonymous",
    actorId: note.actorId ?? null,
    actor: textOf(note.actor) ?? "",
    via: textOf(note.via),
    address: textOf(note.address),
    requestId: textOf(note.requestId),
    projectId: note.projectId ?? null,
    project: textOf(note.project),
    repository: textOf(note.repository),
    reference: textOf(note.reference),
    digest: textOf(note.digest),
    account: textOf(note.account),
    times: note.times ?? 1,
    before: null,
    after: note.after === undefined ? null : stateOf(note.after as Readonly<Record<string, unknown>>),
  };
}
