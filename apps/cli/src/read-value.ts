// Parses words and options into the API's values: names of repositories and robots, scopes, times. Not here: the words of a verb (verbs/);
// whether the registry accepts the values.
import { readFileSync } from "node:fs";
import { Misuse } from "./misuse.ts";
import type { ArgumentKind } from "./verb.ts";

/** The parameters of the address that a word gives. */
export function readWord(kind: Exclude<ArgumentKind, "text">, word: string): Readonly<Record<string, string>> {
  if (kind === "robot") return readRobot(word);
  if (kind === "webhook") return readWebhook(word);
  if (kind === "repository") return readRepository(word);
  const at = word.indexOf("@");
  const colon = word.lastIndexOf(":");
  if (at > 0 && kind !== "tag") return { ...readRepository(word.slice(0, at)), reference: word.slice(at + 1) };
  if (at > 0) throw new Misuse(`${word} names a digest: a tag is meant, as PROJECT/NAME:TAG`);
  if (kind === "digest") throw new Misuse(`${word} names no digest: PROJECT/NAME@sha256:… is meant`);
  if (colon <= word.lastIndexOf("/"))
    throw new Misuse(`${word} names no tag: PROJECT/NAME:TAG is meant${kind === "tag" ? "" : ", or PROJECT/NAME@DIGEST"}`);
  return { ...readRepository(word.slice(0, colon)), [kind]: word.slice(colon + 1) };
}

function readRepository(word: string): { readonly project: string; readonly repository: string } {
  const slash = word.indexOf("/");
  const [project, repository] = [word.slice(0, Math.max(slash, 0)), word.slice(slash + 1)];
  if (project === "" || repository === "") throw new Misuse(`${word} is no repository: PROJECT/NAME is meant, such as team/app`);
  if (/[.:]/.test(project) && repository.includes("/"))
    throw new Misuse(`${word} begins with a registry: leave it out, and give --registry`);
  if (/[:@]/.test(repository)) throw new Misuse(`${word} names an image: its repository is meant, PROJECT/NAME`);
  return { project, repository };
}

/** The login name of a robot. */
function readRobot(word: string): Readonly<Record<string, string>> {
  const plus = word.indexOf("+");
  if (plus < 0 || plus === word.length - 1)
    throw new Misuse(`${word} is no robot: PROJECT+NAME is meant, or +NAME for a robot of the registry`);
  const robot = word.slice(plus + 1);
  return plus === 0 ? { robot } : { project: word.slice(0, plus), robot };
}

/** Of a project, or of the registry. */
function readWebhook(word: string): Readonly<Record<string, string>> {
  const slash = word.indexOf("/");
  return slash < 0 ? { webhook: word } : { project: word.slice(0, slash), webhook: word.slice(slash + 1) };
}

/** A robot's scope: `team/**:pull,push`. */
export function readScope(text: string): {
  readonly repositories: string;
  readonly actions: readonly string[];
  readonly tags?: readonly string[];
} {
  const [repositories = "", actionText = "", tagText, ...rest] = text.split(":");
  const [actions, tags] = [actionText.split(","), tagText?.split(",")];
  if (repositories === "" || actions.includes("") || tags?.includes("") === true || rest.length > 0)
    throw new Misuse(`${text} is no scope: PATTERN:ACTION,… or PATTERN:ACTION,…:TAG,… is meant, such as team/**:pull,push:dev-*`);
  return { repositories, actions, ...(tags === undefined ? {} : { tags }) };
}

/** What a trust rule demands of a claim. */
interface Claim {
  readonly claim: string;
  readonly equals?: string;
  readonly oneOf?: readonly string[];
  readonly matches?: string;
}

/** Conditions: `repository_id=74`, or `ref~refs/heads/release-*` for a pattern; one claim with several values has one of them. */
export function readClaims(texts: readonly string[]): readonly Claim[] {
  const values = new Map<string, string[]>();
  const patterns: Claim[] = [];
  for (const text of texts) {
    const [, claim = "", sign, value = ""] = /^([^=~]+)([=~])([^]+)$/.exec(text) ?? [];
    if (claim === "") throw new Misuse(`${text} is no condition: CLAIM=VALUE is meant, or CLAIM~PATTERN`);
    if (sign === "=") values.set(claim, [...(values.get(claim) ?? []), value]);
    else patterns.push({ claim, matches: value });
  }
  return [...Array.from(values, ([claim, oneOf]) => (oneOf.length === 1 ? { claim, equals: oneOf[0]! } : { claim, oneOf })), ...patterns];
}

/** What is in a file; `-` is standard input. */
export function readText(path: string): string {
  try {
    return readFileSync(path === "-" ? 0 : path, "utf8");
  } catch (error) {
    throw new Misuse(`${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? "unknown error"}`);
  }
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A moment: RFC 3339, a time from now such as `90d`, `12h`, or `never`. */
export function readTime(text: string, now: number): string | null {
  if (text === "never") return null;
  const [, amount, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  if (amount !== undefined && unit !== undefined) return new Date(now + Number(amount) * UNITS[unit]!).toISOString();
  if (!/^\d{4}-\d\d-\d\d(?:T|$)/.test(text) || Number.isNaN(Date.parse(text))) {
    throw new Misuse(`${text} is no time: 90d, 12h, 2027-12-31T00:00:00Z or never is meant`);
  }
  return new Date(text).toISOString();
}

/** A label: `team=blue`. */
export function readLabel(text: string): { readonly key: string; readonly value: string } {
  const at = text.indexOf("=");
  if (at <= 0) throw new Misuse(`${text} is no label: KEY=VALUE is meant, such as team=blue`);
  return { key: text.slice(0, at), value: text.slice(at + 1) };
}

/** A moment that is over: RFC 3339, or so long ago, such as `90d`. */
export function readPast(text: string, now: number): string {
  const [, amount, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  if (amount !== undefined && unit !== undefined) return new Date(now - Number(amount) * UNITS[unit]!).toISOString();
  if (!/^\d{4}-\d\d-\d\d(?:T|$)/.test(text) || Number.isNaN(Date.parse(text)))
    throw new Misuse(`${text} is no time: 90d, 12h or 2026-12-31T00:00:00Z is meant`);
  return new Date(text).toISOString();
}

/** A whole number from 1 on. */
export function readCount(name: string, text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new Misuse(`--${name} takes a whole number from 1 on, not ${text}`);
  return Number(text);
}
