// What a token of another issuer becomes: the robot whose trust rule it meets, for as long as the token lasts. Also said in detail, for who keeps rules.
// Not here: verifying (id-tokens.ts), what conditions mean (trust-rules.ts), the answer on the wire (http/token-exchange.ts).
import type { Clock } from "../platform/clock.ts";
import { ON_FULL_DISK, type Database } from "../platform/database/database.ts";
import type { Account } from "./account-store.ts";
import { isUsable, type Accounts } from "./accounts.ts";
import type { AccountCaller } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";
import {
  CLOCK_SKEW_SECONDS,
  isRefused,
  readToken,
  TOKEN_FAULTS,
  verifyToken,
  type RefusedToken,
  type TokenFault,
  type VerifiedToken,
} from "./id-tokens.ts";
import type { IssuerKeys } from "./issuer-keys.ts";
import { findIssuersOfUrl } from "./issuer-store.ts";
import { robotRefused } from "./refusals.ts";
import { anchorsOf, meetsAll } from "./trust-rules.ts";
import { listTrustRules, listTrustRulesByAnchors, MAX_CANDIDATES, useIdToken, type TrustRule } from "./trust-store.ts";

/** Why a token becomes nobody. */
export type ExchangeFault = TokenFault | "no-rule" | "ambiguous" | "used-before" | "single-use" | "robot-refused";

/** What becomes of tokens, for metrics. */
export const EXCHANGE_RESULTS = [
  "accepted",
  ...TOKEN_FAULTS,
  "no-rule",
  "ambiguous",
  "used-before",
  "single-use",
  "robot-refused",
] as const satisfies readonly ("accepted" | ExchangeFault)[];
/** One of `EXCHANGE_RESULTS`. */
export type ExchangeResult = (typeof EXCHANGE_RESULTS)[number];

/** A token that becomes a robot, and by which rule. */
export interface Match {
  readonly account: Account;
  readonly rule: TrustRule;
  readonly token: VerifiedToken;
}

/** That it becomes nobody. */
export interface NoMatch {
  readonly fault: ExchangeFault;
  readonly message: string;
}

/** How it is brought: as a password, which clients send again and again, or once. */
export type Bringing = "password" | "exchange";

/** Turns tokens into robots. */
export interface TokenExchange {
  /** The robot that a token becomes: the one of this login name, or the only one. Errors: UNAUTHORIZED, UNAVAILABLE. */
  exchange(token: string, robot: string | undefined, bringing: Bringing): Promise<AccountCaller>;
  /** The token as every issuer with its address takes it; nothing is used up. */
  verify(token: string): Promise<VerifiedToken[] | RefusedToken>;
  /** What it would become; nothing is used up. */
  match(tokens: readonly VerifiedToken[], robot: string | undefined): Promise<Match | NoMatch>;
}

/** What it is made of. */
export interface TokenExchangeParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Pick<Accounts, "find" | "findByName">;
  readonly keys: IssuerKeys;
  /** Told what became of each. */
  readonly onResult?: ((result: ExchangeResult) => void) | undefined;
}

/** A robot's login name. */
const ROBOT_LOGIN_NAME = /^[a-z0-9._-]{0,128}\+[a-z0-9._-]{1,64}$/;

/** Makes what turns tokens into robots. */
export function createTokenExchange({ database, clock, accounts, keys, onResult }: TokenExchangeParts): TokenExchange {
  async function verify(token: string): Promise<VerifiedToken[] | RefusedToken> {
    const read = readToken(token);
    if (isRefused(read)) return read;
    const issuers = await findIssuersOfUrl(database, read.issuer);
    if (issuers.length === 0)
      return {
        fault: "issuer-unknown",
        message: `its issuer ${read.issuer.slice(0, 200)} is not known here: an administrator can register it`,
      };
    const verified: VerifiedToken[] = [];
    let refused: RefusedToken | undefined;
    for (const issuer of issuers) {
      const result = await verifyToken(token, read, issuer, { keys, nowMs: clock.now() });
      if (!isRefused(result)) verified.push(result);
      // Of clusters with one address the one whose key it is knows best what is wrong.
      else if (refused === undefined || isSigned(result)) refused = result;
    }
    return verified.length > 0 ? verified : refused!;
  }

  async function match(tokens: readonly VerifiedToken[], robot: string | undefined): Promise<Match | NoMatch> {
    const found = robot === undefined ? await findByClaims(tokens) : await findByName(tokens, robot);
    if ("fault" in found) return found;
    const account = await accounts.find(found.rule.accountId);
    // It was deleted a moment ago.
    if (account === undefined || account.kind !== "robot") return noRule(robot);
    if (!isUsable(account, clock.now())) return { fault: "robot-refused", message: robotRefused(account).message };
    return { account, ...found };
  }

  async function findByName(tokens: readonly VerifiedToken[], robot: string): Promise<Pick<Match, "rule" | "token"> | NoMatch> {
    const account = ROBOT_LOGIN_NAME.test(robot) ? await accounts.findByName(robot) : undefined;
    // Whether there is such a robot is nobody's business.
    const rules = account?.kind === "robot" ? await listTrustRules(database, account.id) : [];
    for (const rule of rules) {
      const token = tokens.find(({ issuer, claims }) => issuer.id === rule.issuerId && meetsAll(claims, rule.conditions));
      if (token !== undefined) return { rule, token };
    }
    return noRule(robot);
  }

  async function findByClaims(tokens: readonly VerifiedToken[]): Promise<Pick<Match, "rule" | "token"> | NoMatch> {
    const found = new Map<number, Pick<Match, "rule" | "token">>();
    for (const token of tokens) {
      const candidates = await listTrustRulesByAnchors(database, token.issuer.id, anchorsOf(token.claims));
      if (candidates.length > MAX_CANDIDATES) return AMBIGUOUS;
      for (const rule of candidates) if (meetsAll(token.claims, rule.conditions)) found.set(rule.accountId, { rule, token });
    }
    const [only, ...others] = found.values();
    if (only === undefined) return noRule(undefined);
    return others.length === 0 ? only : AMBIGUOUS;
  }

  async function take(token: string, robot: string | undefined, bringing: Bringing): Promise<Match | NoMatch> {
    const verified = await verify(token);
    if (isRefused(verified)) return verified;
    const found = await match(verified, robot);
    if ("fault" in found) return found;
    const { issuer, mark, expiresAt } = found.token;
    const now = clock.now();
    if (!issuer.isSingleUse) return found;
    if (bringing === "password") {
      return {
        fault: "single-use",
        message: `each token of the issuer ${issuer.name} counts once, and a password is sent again and again: exchange it at /oauth/token`,
      };
    }
    // Longer than it lasts by our clock: another replica's may be behind.
    const endsAt = expiresAt.getTime() + CLOCK_SKEW_SECONDS * 1000;
    const isFirst = await database.transaction((tx) => useIdToken(tx, { issuerId: issuer.id, mark, endsAt }, now), ON_FULL_DISK);
    return isFirst
      ? found
      : { fault: "used-before", message: "the token was used before, and each of its issuer counts once: get another" };
  }

  return {
    verify,
    match,
    async exchange(token, robot, bringing) {
      const taken = await take(token, robot, bringing);
      if ("fault" in taken) {
        onResult?.(taken.fault);
        throw new UnauthorizedError({ message: `the ID token does not count: ${taken.message}` });
      }
      onResult?.("accepted");
      const { id, name, isAdmin, epoch, networks } = taken.account;
      const via = { kind: "oidc", issuer: taken.token.issuer.url } as const;
      return {
        kind: "account",
        accountId: id,
        name,
        isAdmin,
        epoch,
        via,
        access: undefined,
        ...(networks && { networks }),
        accessEndsAt: taken.token.expiresAt.getTime(),
      };
    },
  };
}

function isSigned({ fault }: RefusedToken): boolean {
  return fault === "audience-wrong" || fault === "expired" || fault === "not-yet-valid" || fault === "claims-wrong";
}

function noRule(robot: string | undefined): NoMatch {
  const of = robot === undefined ? "no robot's trust rule" : `no trust rule of a robot ${robot.slice(0, 200)}`;
  return { fault: "no-rule", message: `it is genuine, but ${of} takes it: who keeps the robot can see why with \`berth trust test\`` };
}

const AMBIGUOUS: NoMatch = {
  fault: "ambiguous",
  message:
    "it meets the trust rules of more than one robot: name the one that you want (docker login -u oidc+PROJECT+NAME, or client_id=PROJECT+NAME)",
};
