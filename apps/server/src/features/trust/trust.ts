// Trust rules of robots: which tokens of other issuers become them; and what a token would become. Not here: rows (access/trust-store.ts), what
// conditions mean (access/trust-rules.ts), issuers (issuers.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { PutTrustRuleBody, TestTokenBody, TokenTestView, TrustRuleView } from "@berth/api/trust";
import { updateAccount, type Account } from "../../access/account-store.ts";
import type { AccountChange } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { isRefused, type VerifiedToken } from "../../access/id-tokens.ts";
import { findIssuer, keepIssuer } from "../../access/issuer-store.ts";
import { robotLoginName } from "../../access/roles.ts";
import type { Match, NoMatch, TokenExchange } from "../../access/token-exchange.ts";
import {
  anchorsOf,
  isPattern,
  judge,
  listClaims,
  MAX_RULES_OF_ROBOT,
  meets,
  meetsAll,
  valuesOf,
  type Condition,
} from "../../access/trust-rules.ts";
import { deleteTrustRule, listTrustRules, listTrustRulesByAnchors, putTrustRule, type TrustRule } from "../../access/trust-store.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";
import { type Home, type HomeGrant, homeOf } from "../home.ts";
import { changedRobot, getRobot, lockRobot } from "../robot-home.ts";

/** What the rules need. */
export interface TrustParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly tokenExchange: TokenExchange;
  readonly changes: ChangeSink<AccountChange>;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Trust {
  list(grant: HomeGrant, robot: string, page: PageRequest): Promise<Listed<TrustRuleView>>;
  put(grant: HomeGrant, robot: string, name: string, rule: PutTrustRuleBody): Promise<TrustRuleView>;
  delete(grant: HomeGrant, robot: string, name: string): Promise<void>;
  test(grant: HomeGrant, test: TestTokenBody): Promise<TokenTestView>;
}

/** Most bytes of a rule's conditions: a robot has twenty such. */
const MAX_CONDITIONS_BYTES = 8 * 1024;
/** Most rules that a test shows. */
const MAX_SHOWN = 20;

/** Makes the rules. */
export function createTrust({ database, clock, accounts, tokenExchange, changes }: TrustParts): Trust {
  const change = createRightsChange(database, accounts);

  function toView({ name, issuerName, issuerUrl, conditions, createdAt }: TrustRule): TrustRuleView {
    const warnings = judge(issuerUrl, conditions).map(({ code, message }) => ({ code, message }));
    return {
      name,
      issuer: issuerName,
      conditions: conditions.map(({ oneOf, ...rest }) => ({ ...rest, ...(oneOf === undefined ? {} : { oneOf: [...oneOf] }) })),
      warnings,
      createdAt: createdAt.toISOString(),
    };
  }

  async function ruleOf(executor: Executor, robot: Account, name: string): Promise<TrustRule | undefined> {
    return (await listTrustRules(executor, robot.id)).find((rule) => rule.name === name);
  }

  /** The rules to hold a token against: of the robot that is named, or those that could fit, as far as they are the home's own. */
  async function candidates(home: Home, tokens: readonly VerifiedToken[], robot: string | undefined): Promise<[Account, TrustRule][]> {
    const rules: TrustRule[] = [];
    if (robot === undefined) {
      for (const { issuer, claims } of tokens) rules.push(...(await listTrustRulesByAnchors(database, issuer.id, anchorsOf(claims))));
    } else {
      const account = await accounts.findByName(robot);
      if (account?.kind === "robot") rules.push(...(await listTrustRules(database, account.id)));
    }
    const found: [Account, TrustRule][] = [];
    for (const rule of rules) {
      const account = await accounts.find(rule.accountId);
      // An administrator's test is about all robots.
      if (account !== undefined && (home.projectId === undefined || account.projectId === home.projectId)) found.push([account, rule]);
    }
    return found;
  }

  return {
    async list(grant, robot, { after = "", limit = DEFAULT_PAGE_SIZE }) {
      const account = await getRobot(database, homeOf(grant), robot);
      const rules = (await listTrustRules(database, account.id)).filter(({ name }) => name > after);
      return listed(
        rules,
        limit,
        (rows) => rows.map(toView),
        ({ name }) => name,
      );
    },
    async put(grant, robot, name, { issuer: issuerName, conditions, isWide = false }) {
      const home = homeOf(grant);
      checkConditions(conditions);
      return change(
        home,
        { account: robotLoginName(home.projectName, robot) },
        async (tx, { actor }) => {
          const issuer = await findIssuer(tx, issuerName);
          // Before the robot, as where an issuer is changed: two who wait for each other would both have to begin again.
          if (issuer === undefined || !(await keepIssuer(tx, issuer.id))) throw new ApiError("ISSUER_UNKNOWN");
          checkWidth(issuer.url, conditions, isWide);
          const account = await lockRobot(tx, home, robot);
          const before = await listTrustRules(tx, account.id);
          const isNew = before.every((rule) => rule.name !== name);
          if (isNew && before.length >= MAX_RULES_OF_ROBOT) throw new ApiError("TRUST_RULES_TOO_MANY");
          await putTrustRule(tx, { accountId: account.id, name, issuerId: issuer.id, conditions }, clock.now());
          // Tokens that were given by the rule of before end.
          if (!isNew) await updateAccount(tx, account, true);
          await changes.record(tx, actor, [
            { kind: "robot.trust-changed", ...changedRobot(home, account), rule: name, issuer: issuerName, conditions },
          ]);
          return toView((await ruleOf(tx, account, name))!);
        },
        {},
      );
    },
    async delete(grant, robot, name) {
      const home = homeOf(grant);
      await change(home, { account: robotLoginName(home.projectName, robot) }, async (tx, { actor }) => {
        const account = await lockRobot(tx, home, robot);
        if (!(await deleteTrustRule(tx, account.id, name))) throw new ApiError("TRUST_RULE_UNKNOWN");
        await updateAccount(tx, account, true);
        await changes.record(tx, actor, [{ kind: "robot.trust-removed", ...changedRobot(home, account), rule: name }]);
      });
    },
    async test(grant, { token, robot }) {
      const home = homeOf(grant);
      const verified = await tokenExchange.verify(token.trim());
      if (isRefused(verified)) {
        const { fault, message: reason } = verified;
        return { becomes: null, reason, fault, expiresAt: null, issuers: [], claims: [], rules: [] };
      }
      const found = await tokenExchange.match(verified, robot);
      const rules = await candidates(home, verified, robot);
      const isOwn = !("fault" in found) && (home.projectId === undefined || found.account.projectId === home.projectId);
      return {
        ...outcomeOf(found, isOwn),
        expiresAt: verified[0]!.expiresAt.toISOString(),
        issuers: verified.map(({ issuer }) => issuer.name),
        claims: listClaims(verified[0]!.claims),
        rules: rules.slice(0, MAX_SHOWN).map(([account, rule]) => {
          const claims = verified.find(({ issuer }) => issuer.id === rule.issuerId)?.claims;
          return {
            robot: account.name,
            rule: rule.name,
            isMet: claims !== undefined && meetsAll(claims, rule.conditions),
            conditions:
              claims === undefined
                ? [{ claim: "iss", wanted: rule.issuerName, found: verified.map(({ issuer }) => issuer.name), isMet: false }]
                : rule.conditions.map((each) => ({
                    claim: each.claim,
                    wanted: wantedOf(each),
                    found: valuesOf(claims, each.claim),
                    isMet: meets(claims, each),
                  })),
          };
        }),
      };
    },
  };
}

/** In the words of the answer. */
function outcomeOf(found: Match | NoMatch, isOwn: boolean): Pick<TokenTestView, "becomes" | "reason" | "fault"> {
  if ("fault" in found) return { becomes: null, reason: found.message, fault: found.fault };
  if (isOwn) return { becomes: found.account.name, reason: null, fault: null };
  return { becomes: null, reason: "it becomes a robot that is not of this project", fault: "no-rule" };
}

function wantedOf({ equals, oneOf = [], matches }: Condition): string {
  return equals ?? (matches === undefined ? oneOf.join(" or ") : `like ${matches}`);
}

function invalid(field: string, reason: string): ApiError {
  return new ApiError("FIELD_INVALID", { detail: [{ field, reason }] });
}

function checkConditions(conditions: readonly Condition[]): void {
  for (const [index, { claim, equals, oneOf, matches }] of conditions.entries()) {
    const field = `body.conditions.${index}`;
    if ([equals, oneOf, matches].filter((each) => each !== undefined).length !== 1) {
      throw invalid(field, "must have one of equals, oneOf and matches");
    }
    // Of the token itself only by its name, so that each claim is named in one way.
    if (claim.startsWith("/") && claim.indexOf("/", 1) === -1)
      throw invalid(`${field}.claim`, "must be the claim's name; a path has two names or more");
    // Every token has them, and they are looked at anyway.
    if (["iss", "aud", "exp", "nbf", "iat", "jti"].includes(claim)) throw invalid(`${field}.claim`, "is proved for each token by itself");
    for (const text of [claim, equals ?? "", matches ?? "", ...(oneOf ?? [])]) {
      if (text.includes("\0") || !text.isWellFormed()) throw invalid(field, "must be plain text");
    }
    if (matches !== undefined && !isPattern(matches)) {
      throw invalid(
        `${field}.matches`,
        "must begin with what is no star, so that it is anchored, and have no more than two stars together",
      );
    }
  }
  if (Buffer.byteLength(JSON.stringify(conditions)) > MAX_CONDITIONS_BYTES) {
    throw invalid("body.conditions", `must have ${MAX_CONDITIONS_BYTES} bytes at most`);
  }
}

function checkWidth(issuerUrl: string, conditions: readonly Condition[], isWide: boolean): void {
  const refused = judge(issuerUrl, conditions).filter(({ weight }) => weight === "refused" || (weight === "wide" && !isWide));
  if (refused.length === 0) return;
  const [{ message, weight }] = refused as [(typeof refused)[number]];
  const help = weight === "refused" ? "" : "; where so much is meant, say so with isWide";
  throw new ApiError("TRUST_RULE_TOO_WIDE", {
    message: message + help,
    detail: refused.map((each) => ({ code: each.code, message: each.message })),
  });
}
