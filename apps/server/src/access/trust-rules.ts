// What a trust rule demands of a token's claims, and how wide it is: pure. Not here: the rows (trust-store.ts), tokens and keys (id-tokens.ts).
import { fitsWildcards } from "../platform/wildcards.ts";

/** One demand on a claim; exactly one of the three is there. */
export interface Condition {
  /** A claim's name; what begins with `/` is a path through objects (RFC 6901), such as `/kubernetes.io/serviceaccount/uid`. */
  readonly claim: string;
  /** The claim has this value. Numbers and truth values compare as they are written in JSON; a list has it among its items. */
  readonly equals?: string;
  /** The claim has one of these values. */
  readonly oneOf?: readonly string[];
  /** The claim fits a pattern from its first character to its last: `*` is anything without `/` and `:`, `**` anything. */
  readonly matches?: string;
}

/** What a token says. */
export type Claims = Readonly<Record<string, unknown>>;

/** Most rules of a robot: all are looked at when a token comes. */
export const MAX_RULES_OF_ROBOT = 20;
/** Longest value that is compared. */
const MAX_VALUE_LENGTH = 1024;
/** Most items of a list that are looked at. */
const MAX_ITEMS = 200;

/** The values of a claim, as conditions compare them; none for what is an object or not there. */
export function valuesOf(claims: Claims, claim: string): string[] {
  const found = findClaim(claims, claim);
  const items: readonly unknown[] = Array.isArray(found) ? found.slice(0, MAX_ITEMS) : [found];
  return items.flatMap((item) => {
    if (typeof item === "string") return item.length <= MAX_VALUE_LENGTH ? [item] : [];
    return typeof item === "boolean" || Number.isSafeInteger(item) ? [String(item)] : [];
  });
}

function findClaim(claims: Claims, claim: string): unknown {
  const names = claim.startsWith("/")
    ? claim
        .slice(1)
        .split("/")
        .map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"))
    : [claim];
  let found: unknown = claims;
  for (const name of names) {
    // Own ones only: a claim is nothing that every object has.
    if (typeof found !== "object" || found === null || Array.isArray(found) || !Object.hasOwn(found, name)) return undefined;
    found = (found as Claims)[name];
  }
  return found;
}

/** Whether the claims meet a condition. */
export function meets(claims: Claims, { claim, equals, oneOf, matches }: Condition): boolean {
  const wanted = equals === undefined ? oneOf : [equals];
  return valuesOf(claims, claim).some((value) =>
    wanted === undefined ? matches !== undefined && fits(matches, value) : wanted.includes(value),
  );
}

/** Whether the claims meet a rule: all of its conditions, of which there is at least one. */
export function meetsAll(claims: Claims, conditions: readonly Condition[]): boolean {
  return conditions.length > 0 && conditions.every((each) => meets(claims, each));
}

/** Whether a text is a pattern: it begins with what it stands for, so that it is fixed where names of owners are. */
export function isPattern(text: string): boolean {
  return !text.startsWith("*") && !text.includes("***");
}

/** Whether a value fits a pattern. */
export function fits(pattern: string, value: string): boolean {
  return fitsWildcards(pattern, value, "/:");
}

/** What a claim tells of who it is. `one`: just one workload; `owner`: all of an owner's; `name`: who has the name now, which can be given to another. */
type Identity = "one" | "owner" | "name";

const IDENTITY: Readonly<Record<string, Identity>> = {
  // GitHub Actions.
  repository_id: "one",
  repository_owner_id: "owner",
  enterprise_id: "owner",
  repository: "name",
  repository_owner: "name",
  enterprise: "name",
  workflow_ref: "name",
  job_workflow_ref: "name",
  // GitLab.
  project_id: "one",
  namespace_id: "owner",
  project_path: "name",
  namespace_path: "name",
  ci_config_ref_uri: "name",
  // Kubernetes. A namespace and a name in it are the cluster's own (both together: see below).
  "/kubernetes.io/serviceaccount/uid": "one",
  "/kubernetes.io/pod/uid": "one",
  "/kubernetes.io/namespace": "owner",
  // CircleCI, Buildkite, Azure.
  "oidc.circleci.com/project-id": "one",
  pipeline_id: "one",
  organization_id: "owner",
  oid: "one",
  // Anybody's.
  email: "name",
  preferred_username: "name",
};

/** Issuers that give tokens to everybody in the world: a rule that names nobody there is open to all of them. */
const PUBLIC_ISSUERS: ReadonlySet<string> = new Set([
  "https://token.actions.githubusercontent.com",
  "https://gitlab.com",
  "https://agent.buildkite.com",
  "https://accounts.google.com",
  "https://oauth2.sigstore.dev/auth",
  "https://app.terraform.io",
]);

/** What makes a rule wider than it may look. */
export interface Width {
  readonly code: "identifies-nobody" | "whole-owner" | "names-can-change" | "identity-by-pattern" | "any-branch";
  readonly message: string;
  /** `hint`: nothing is refused for it. `wide`: the rule must say that it is meant. `refused`: no rule may be so. */
  readonly weight: "hint" | "wide" | "refused";
}

function identityOf({ claim, equals, oneOf }: Condition): Identity | undefined {
  if (claim !== "sub") return Object.hasOwn(IDENTITY, claim) ? IDENTITY[claim] : undefined;
  // A subject is never given to another (OpenID Connect Core, section 2), but those two put names of repositories into it.
  return [equals, ...(oneOf ?? [])].some((value) => value !== undefined && /^(?:repo|project_path):/.test(value)) ? "name" : "one";
}

const BRANCHES: ReadonlySet<string> = new Set([
  "sub",
  "ref",
  "ref_protected",
  "environment",
  "job_workflow_ref",
  "workflow_ref",
  "base_ref",
]);

/** How wide a rule is, widest first; nothing to say of a narrow one. */
export function judge(issuerUrl: string, conditions: readonly Condition[]): Width[] {
  const exact = conditions.filter(({ matches }) => matches === undefined);
  const known = new Set(exact.map(identityOf));
  const names = new Set(exact.map(({ claim }) => claim));
  const isServiceAccount = names.has("/kubernetes.io/namespace") && names.has("/kubernetes.io/serviceaccount/name");
  const isOne = known.has("one") || isServiceAccount;
  const widths: Width[] = [];
  if (!isOne && !known.has("owner")) {
    if (known.has("name")) {
      widths.push({
        code: "names-can-change",
        weight: "wide",
        message: "names can be given to others after a rename or a deletion: demand the number, such as repository_id or project_id",
      });
    } else if (
      conditions.some((each) => each.matches !== undefined && identityOf({ claim: each.claim, equals: each.matches }) !== undefined)
    ) {
      widths.push({
        code: "identity-by-pattern",
        weight: "wide",
        message: "who it is is demanded by a pattern only: demand the exact number of a repository, a project or a service account",
      });
    } else {
      const isPublic = PUBLIC_ISSUERS.has(issuerUrl.replace(/\/$/, ""));
      widths.push({
        code: "identifies-nobody",
        weight: isPublic ? "refused" : "wide",
        message: isPublic
          ? "the issuer gives tokens to everybody in the world, and no condition says whose: demand repository_id, project_id or the like"
          : "no condition says who it is: everybody to whom the issuer gives a token may meet it",
      });
    }
  } else if (!isOne) {
    widths.push({
      code: "whole-owner",
      weight: "wide",
      message:
        "everything of an owner meets it, also what the owner adds later: demand the number of a repository, a project or a service account",
    });
  }
  const isPipeline = names.has("repository_id") || names.has("project_id");
  if (isPipeline && !conditions.some(({ claim }) => BRANCHES.has(claim))) {
    widths.push({
      code: "any-branch",
      weight: "hint",
      message:
        "whoever may push any branch there can get such a token: demand ref, environment or ref_protected as well, where that is not meant",
    });
  }
  return widths;
}

const ANCHOR_ORDER: readonly (Identity | undefined)[] = ["one", "name", "owner", undefined];

/** The anchor of a rule: its most telling condition with one value. Null: it is not found by a token, only by its robot's name. */
export function anchorOf(conditions: readonly Condition[]): string | null {
  const exact = conditions.filter(({ equals }) => equals !== undefined);
  for (const identity of ANCHOR_ORDER) {
    const found = exact.find((each) => identityOf(each) === identity);
    if (found !== undefined) return `${found.claim}=${found.equals}`;
  }
  return null;
}

/** Most claims of a token that are looked at, and of those in its objects. */
const MAX_CLAIMS = 200;
/** How deep objects are looked into: as deep as Kubernetes has its names. */
const MAX_DEPTH = 4;

/** A claim with one value, as a condition would name it. */
export interface ClaimValue {
  readonly claim: string;
  readonly value: string;
}

/** What a token says, as conditions name and compare it. */
export function listClaims(claims: Claims): ClaimValue[] {
  const found: ClaimValue[] = [];
  const walk = (object: Claims, path: string, depth: number): void => {
    for (const [name, value] of Object.entries(object)) {
      // A claim of the token itself whose name looks like a path cannot be demanded.
      if (path === "" && name.startsWith("/")) continue;
      const step = `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) {
        if (depth < MAX_DEPTH) walk(value as Claims, path + step, depth + 1);
        continue;
      }
      for (const text of valuesOf(object, step)) found.push({ claim: path === "" ? name : path + step, value: text });
      if (found.length >= MAX_CLAIMS) return;
    }
  };
  walk(claims, "", 1);
  return found.slice(0, MAX_CLAIMS);
}

/** What rules that the claims may meet can have as anchor. */
export function anchorsOf(claims: Claims): string[] {
  const anchors = listClaims(claims).map(({ claim, value }) => `${claim}=${value}`);
  // What a database cannot compare as text is nobody's value.
  return [...new Set(anchors)].filter((text) => text.isWellFormed() && !text.includes("\0"));
}
