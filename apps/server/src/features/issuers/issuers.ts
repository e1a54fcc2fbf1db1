// Issuers of tokens that count here: registered by administrators. Not here: their rows (access/issuer-store.ts), how keys are fetched
// (access/issuer-keys.ts), which token becomes which robot (features/trust).
import { ApiError } from "@berth/api/errors";
import type { CreateIssuerBody, IssuerView, UpdateIssuerBody } from "@berth/api/issuers";
import { DEFAULT_PAGE_SIZE } from "@berth/api/limits";
import type { AccountChange } from "../../access/account-changes.ts";
import type { Accounts } from "../../access/accounts.ts";
import type { AccountGrant } from "../../access/authorize.ts";
import type { ChangeSink } from "../../access/changes.ts";
import { keysState, type IssuerKeys } from "../../access/issuer-keys.ts";
import {
  deleteIssuer,
  findIssuer,
  insertIssuer,
  listIssuers,
  lockIssuer,
  updateIssuer,
  type Issuer,
  type IssuerDraft,
  type PublicJwk,
} from "../../access/issuer-store.ts";
import { readJwks, UnusableKeys } from "../../access/jwks.ts";
import { endTokensOfRules, hasTrustRules } from "../../access/trust-store.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Database, Executor } from "../../platform/database/database.ts";
import { listed, type Listed, type PageRequest } from "../paging.ts";
import { createRightsChange } from "../rights-change.ts";

/** What the rules need. */
export interface IssuersParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly accounts: Accounts;
  readonly issuerKeys: IssuerKeys;
  readonly changes: ChangeSink<AccountChange>;
}

/** The rules, for whoever has the proof that he may. Their errors are those of the operations of the same name. */
export interface Issuers {
  list(page: PageRequest): Promise<Listed<IssuerView>>;
  get(name: string): Promise<IssuerView>;
  create(grant: AccountGrant, issuer: CreateIssuerBody): Promise<IssuerView>;
  update(grant: AccountGrant, name: string, change: UpdateIssuerBody): Promise<IssuerView>;
  fetchKeys(name: string): Promise<IssuerView>;
  delete(grant: AccountGrant, name: string): Promise<void>;
}

/** What nearly all issuers sign with. */
const STANDARD_ALGORITHMS: readonly string[] = ["RS256", "ES256"];

/** Makes the rules. */
export function createIssuers({ database, clock, accounts, issuerKeys, changes }: IssuersParts): Issuers {
  const change = createRightsChange(database, accounts);

  async function getIssuer(executor: Executor, name: string): Promise<Issuer> {
    const issuer = await findIssuer(executor, name);
    if (issuer === undefined) throw new ApiError("ISSUER_UNKNOWN");
    return issuer;
  }

  async function lockNamed(tx: Executor, name: string): Promise<Issuer> {
    const issuer = await lockIssuer(tx, (await getIssuer(tx, name)).id);
    if (issuer === undefined) throw new ApiError("ISSUER_UNKNOWN");
    return issuer;
  }

  /** Fetches the keys where they are not given: the answer says what came of it, and an issuer that does not answer is registered all the same. */
  async function withKeys(name: string): Promise<IssuerView> {
    const issuer = await getIssuer(database, name);
    const fetched = issuer.hasGivenKeys ? issuer : await issuerKeys.fetchNow(issuer);
    if (fetched === undefined) throw new ApiError("ISSUER_UNKNOWN");
    return toView(fetched);
  }

  function toView(issuer: Issuer): IssuerView {
    return {
      name: issuer.name,
      url: issuer.url,
      audiences: [...issuer.audiences],
      algorithms: [...issuer.algorithms] as IssuerView["algorithms"],
      isDisabled: issuer.isDisabled,
      isSingleUse: issuer.isSingleUse,
      keys: {
        source: issuer.hasGivenKeys ? "given" : "fetched",
        state: keysState(issuer, clock.now()),
        ids: (issuer.keys ?? []).flatMap(({ kid }) => (kid === undefined ? [] : [kid])),
        count: issuer.keys?.length ?? 0,
        updatedAt: issuer.keysAt?.toISOString() ?? null,
        triedAt: issuer.keysTriedAt?.toISOString() ?? null,
        error: issuer.keysError ?? null,
      },
      createdAt: issuer.createdAt.toISOString(),
    };
  }

  return {
    async list({ after = "", limit = DEFAULT_PAGE_SIZE }) {
      return listed(
        await listIssuers(database, after, limit + 1),
        limit,
        (rows) => rows.map(toView),
        ({ name }) => name,
      );
    },
    async get(name) {
      return toView(await getIssuer(database, name));
    },
    async create(grant, { name, url, audiences, algorithms = STANDARD_ALGORITHMS, keys, isSingleUse = false }) {
      checkTexts("body.audiences", audiences);
      if (keys === undefined) checkAddress(url);
      else checkTexts("body.url", [url]);
      const given = keys === undefined ? undefined : parseKeys(keys);
      const draft: IssuerDraft = {
        name,
        url,
        audiences,
        algorithms,
        isDisabled: false,
        isSingleUse,
        hasGivenKeys: given !== undefined,
        keys: given,
        keysAt: given === undefined ? undefined : new Date(clock.now()),
      };
      const work = async (tx: Executor, { actor }: AccountGrant): Promise<void> => {
        if ((await insertIssuer(tx, draft, clock.now())) === undefined) throw new ApiError("ISSUER_EXISTS", { detail: { name } });
        await changes.record(tx, actor, [{ kind: "issuer.created", issuer: name, url, audiences }]);
      };
      await change(grant, {}, work, {});
      return withKeys(name);
    },
    async update(grant, name, { audiences, algorithms, keys, isSingleUse, isDisabled }) {
      if (audiences !== undefined) checkTexts("body.audiences", audiences);
      const given = typeof keys === "string" ? parseKeys(keys) : undefined;
      const updated = await change(grant, {}, async (tx, { actor }) => {
        const issuer = await lockNamed(tx, name);
        if (keys === null) checkAddress(issuer.url, "body.keys");
        const source =
          given !== undefined
            ? { hasGivenKeys: true, keys: given, keysAt: new Date(clock.now()) }
            : keys === null && issuer.hasGivenKeys
              ? // What was given may be what is not to count any more.
                { hasGivenKeys: false, keys: undefined, keysAt: undefined }
              : {};
        const next: Issuer = {
          ...issuer,
          audiences: audiences ?? issuer.audiences,
          algorithms: algorithms ?? issuer.algorithms,
          isSingleUse: isSingleUse ?? issuer.isSingleUse,
          isDisabled: isDisabled ?? issuer.isDisabled,
          ...source,
        };
        await updateIssuer(tx, issuer.id, next);
        // What it vouched for under the rules of before.
        await endTokensOfRules(tx, issuer.id);
        const { url } = issuer;
        const hasNewKeys = Object.keys(source).length > 0;
        await changes.record(tx, actor, [
          {
            kind: "issuer.updated",
            issuer: name,
            url,
            audiences: next.audiences,
            algorithms: next.algorithms,
            isDisabled: next.isDisabled,
            isSingleUse: next.isSingleUse,
            hasNewKeys,
          },
        ]);
        return next;
      });
      return updated.keys === undefined ? withKeys(name) : toView(updated);
    },
    fetchKeys: withKeys,
    async delete(grant, name) {
      await change(grant, {}, async (tx, { actor }) => {
        const { id, url } = await lockNamed(tx, name);
        if (await hasTrustRules(tx, id)) throw new ApiError("ISSUER_IN_USE");
        await deleteIssuer(tx, id);
        await changes.record(tx, actor, [{ kind: "issuer.deleted", issuer: name, url }]);
      });
    },
  };
}

function invalid(field: string, reason: string): ApiError {
  return new ApiError("FIELD_INVALID", { detail: [{ field, reason }] });
}

/** Refuses what no database keeps as text, or compares otherwise than it is sent. */
function checkTexts(field: string, texts: readonly string[]): void {
  for (const text of texts)
    if (text.includes("\0") || !text.isWellFormed() || text.trim() !== text)
      throw invalid(field, "must be plain text without spaces around it");
}

/** Refuses an address at which no issuer can say what its keys are. */
function checkAddress(url: string, field = "body.url"): void {
  const parsed = URL.parse(url);
  // Whether http:// is connected to is the operator's choice (outbound.insecureHttp), and what came of it stands in the answer.
  const isWeb = parsed?.protocol === "https:" || parsed?.protocol === "http:";
  // Compared as text with what tokens and the issuer's own document say, so that it is written in one way.
  const isPlain = parsed !== null && parsed.username === "" && parsed.password === "" && !/[?#\s]/.test(url) && url.isWellFormed();
  if (!isWeb || !isPlain || (parsed.href !== url && parsed.href !== `${url}/`)) {
    throw invalid(field, "must be an address as the issuer itself writes it; where the registry cannot reach it, give its keys");
  }
}

/** Reads keys that were given. */
function parseKeys(text: string): PublicJwk[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid("body.keys", "must be a JWK set as JSON text");
  }
  try {
    return readJwks(value);
  } catch (error) {
    if (error instanceof UnusableKeys) throw invalid("body.keys", `cannot be used: ${error.message}`);
    throw error;
  }
}
