// Tokens of people: their owners make, list and revoke personal ones, and revoke refresh ones; administrators list and revoke everybody's.
// Not here: rows (access/credential-store.ts), what a token lets through (access/personal-bound.ts), recognising one (access/authenticate.ts).
import { ApiError } from "@berth/api/errors";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { CreateTokenBody, TokenView, TokenWithSecretView } from "@berth/api/tokens";
import { changedScopes, type AccountChange } from "../../access/account-changes.ts";
import { findAccountByName, lockAccount, type Account } from "../../access/account-store.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import type { ChangeSink } from "../../access/changes.ts";
import {
  deleteCredential,
  findCredential,
  insertCredential,
  listCredentials,
  MAX_CREDENTIALS,
  MAX_OF_ALL_KINDS,
  type Credential,
} from "../../access/credential-store.ts";
import { formatBound } from "../../access/personal-bound.ts";
import { parseScopeViews, viewScopes } from "../../access/scope-views.ts";
import { generateSecret, hashSecret } from "../../access/secrets.ts";
import { type Clock, DAY_MS } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";

/** What the rules need. */
export interface PersonalTokensParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly changes: ChangeSink<AccountChange>;
  /** How many days a personal token lasts at the most. */
  readonly personalTokenDays: number;
}

/** The rules, for whoever has the proof that he may; `user`: whose, the caller's own where it is undefined. */
export interface PersonalTokens {
  list(grant: AccountGrant, user: string | undefined, page: PageRequest): Promise<Listed<TokenView>>;
  create(grant: AccountGrant, token: CreateTokenBody): Promise<TokenWithSecretView>;
  revoke(grant: AccountGrant, user: string | undefined, id: string): Promise<void>;
}

/** How long a token lasts where its user does not say. */
const USUAL_DAYS = 90;

/** Makes the rules. */
export function createPersonalTokens(parts: PersonalTokensParts): PersonalTokens {
  const { database, clock, accounts, changes, personalTokenDays } = parts;
  const change = createRightsChange(database, accounts);

  async function ownerOf(executor: Executor, grant: AccountGrant, user: string | undefined): Promise<Account> {
    if (user === undefined) return grant.account;
    const account = await findAccountByName(executor, user);
    if (account === undefined || account.kind !== "user") throw new ApiError("USER_UNKNOWN");
    return account;
  }

  function endOf(text: string | null | undefined): number {
    const now = clock.now();
    const latest = now + personalTokenDays * DAY_MS;
    if (text === null || text === undefined) return Math.min(latest, now + USUAL_DAYS * DAY_MS);
    const at = Date.parse(text);
    // A minute more, since whoever asks for the whole time counts from his own clock.
    if (Number.isNaN(at) || at <= now || at > latest + 60_000) {
      const reason = `must be a time in the future, at most ${personalTokenDays} days from now`;
      throw new ApiError("FIELD_INVALID", { detail: [{ field: "body.expiresAt", reason }] });
    }
    return at;
  }

  return {
    async list(grant, user, { after, limit = DEFAULT_PAGE_SIZE }) {
      const { id } = await ownerOf(database, grant, user);
      const from = Number(after ?? 0);
      const found = await listCredentials(database, id, Number.isSafeInteger(from) ? from : 0, MAX_OF_ALL_KINDS);
      return listed(
        found.filter(isToken).slice(0, limit + 1),
        limit,
        (rows) => rows.map(toView),
        (row) => String(row.id),
      );
    },
    async create(grant, { name, scopes, api = "none", expiresAt }) {
      const parsed = parseScopeViews(scopes, undefined);
      // A token's bound says nothing of tags, and must not be taken to.
      const tagged = parsed.findIndex(({ tagPatterns }) => tagPatterns !== undefined);
      if (tagged !== -1)
        throw new ApiError("FIELD_INVALID", {
          detail: [{ field: `body.scopes.${tagged}.tags`, reason: "a token is not narrowed to tags" }],
        });
      const endsAt = endOf(expiresAt);
      const secret = generateSecret("pat");
      const make = async (tx: Executor, { account: { id: accountId, name: account }, actor }: AccountGrant): Promise<Credential> => {
        await lockAccount(tx, accountId);
        const all = await listCredentials(tx, accountId, 0, MAX_OF_ALL_KINDS);
        if (all.filter(({ kind }) => kind === "personal").length >= MAX_CREDENTIALS) throw new ApiError("TOKENS_TOO_MANY");
        const bound = formatBound({ scopes: parsed, api });
        const token = { accountId, kind: "personal", name, secretHash: hashSecret(secret), bound, endsAt } as const;
        const id = await insertCredential(tx, token, clock.now());
        const told = { token: name, tokenId: id, api, scopes: changedScopes(parsed), expiresAt: new Date(endsAt).toISOString() };
        await changes.record(tx, actor, [{ kind: "token.created", account, accountId, ...told }]);
        return (await findCredential(tx, id))!;
      };
      return { ...toView(await change(grant, { account: grant.account.name }, make, {})), secret };
    },
    async revoke(grant, user, text) {
      const name = user ?? grant.account.name;
      await change(grant, { account: name }, async (tx, present) => {
        const { id: accountId } = await ownerOf(tx, present, user);
        const credential = await findCredential(tx, Number(text));
        const isTheirs = credential !== undefined && credential.accountId === accountId && isToken(credential);
        if (!isTheirs || !(await deleteCredential(tx, accountId, credential.id))) throw new ApiError("TOKEN_UNKNOWN");
        const { id: tokenId, name: token, kind: tokenKind } = credential;
        await changes.record(tx, present.actor, [{ kind: "token.revoked", account: name, accountId, token, tokenId, tokenKind }]);
      });
    },
  };
}

type TokenCredential = Credential & { readonly kind: "personal" | "refresh" };

function isToken(credential: Credential): credential is TokenCredential {
  return credential.kind === "personal" || credential.kind === "refresh";
}

function toView(credential: Credential): TokenView {
  const { id, kind, name, bound, createdAt, expiresAt, lastUsedAt, lastAddress } = credential;
  return {
    id: String(id),
    kind: kind === "refresh" ? "refresh" : "personal",
    name,
    scopes: bound === undefined ? null : viewScopes(bound.scopes),
    api: bound?.api ?? "none",
    createdAt: createdAt.toISOString(),
    expiresAt: expiresAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
    lastAddress: lastAddress ?? null,
  };
}
