// Names for what comes from providers of sign-ins: what a provider says, made into a name that is allowed here. Pure. Not here: which names are free.
import { createHash } from "node:crypto";
import { MAX_ACCOUNT_NAME_LENGTH } from "./roles.ts";

/** `me` is the caller in addresses of the API, `oidc` what ID tokens come with (authenticate.ts). */
const RESERVED: ReadonlySet<string> = new Set(["me", "oidc"]);
/** Numbers are tried up to it; then comes what nobody else has. */
const LAST_NUMBER = 9;

/** Lower-case letters, digits and single marks between them: a text that is none of these keeps what fits. */
function reduce(text: string, marks: string): string {
  const others = new RegExp(`[^a-z0-9${marks}]+`, "g");
  const several = new RegExp(`[${marks}]{2,}`, "g");
  return trim(
    text
      .slice(0, 1000)
      .normalize("NFKD")
      .replaceAll(/\p{M}/gu, "")
      .toLowerCase()
      .replaceAll(others, "-")
      .replaceAll(several, (run) => run[0]!),
    marks,
    MAX_ACCOUNT_NAME_LENGTH,
  );
}

function trim(text: string, marks: string, length: number): string {
  return text
    .replace(new RegExp(`^[${marks}]+`), "")
    .slice(0, length)
    .replace(new RegExp(`[${marks}]+$`), "");
}

/** What comes out the same for one thing only. */
function markOf(unique: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(unique)).digest("hex");
}

function candidates(base: string, marks: string, mark: string): string[] {
  const with_ = (end: string): string => `${trim(base, marks, MAX_ACCOUNT_NAME_LENGTH - end.length - 1)}-${end}`;
  const numbers = Array.from({ length: LAST_NUMBER - 1 }, (_, index) => with_(String(index + 2)));
  return [base, ...numbers, with_(mark.slice(0, 8)), with_(mark.slice(0, 32))];
}

/** Names for an account in the order in which they are tried. `unique`: what nobody else has. */
export function accountNames(wanted: string, unique: readonly string[]): string[] {
  const mark = markOf(unique);
  const base = reduce(wanted, "._@\\-");
  return candidates(base === "" ? `user-${mark.slice(0, 8)}` : base, "._@\\-", mark).filter((name) => !RESERVED.has(name));
}

/** The same for a group. */
export function groupNames(wanted: string, unique: readonly string[]): string[] {
  const mark = markOf(unique);
  const base = reduce(wanted, "._\\-");
  return candidates(base === "" ? `group-${mark.slice(0, 8)}` : base, "._\\-", mark);
}
