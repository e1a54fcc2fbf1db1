// Refresh tokens: what a client keeps after a login in place of the password, and gets registry tokens for. One ends when it is not used, with its
// user's password, and when it is revoked. Not here: recognising one (authenticate.ts), the endpoint (http/token.ts), lists (features/tokens).
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { AccountChange } from "./account-changes.ts";
import { lockAccount } from "./account-store.ts";
import { isUsable } from "./accounts.ts";
import { actorOf, type Origin } from "./actor.ts";
import type { Caller } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";
import type { ChangeSink } from "./changes.ts";
import { clientName, insertCredential, makeRoom } from "./credential-store.ts";
import { generateSecret, hashSecret } from "./secrets.ts";

/** Gives out refresh tokens. */
export interface RefreshTokens {
  /**
   * A refresh token for who has just proved its password; undefined for everybody else: a robot keeps its secret, and a personal token is kept as
   * it is, so that nothing outlives it. `client`: what the client calls itself. Errors: UNAUTHORIZED.
   */
  issue(caller: Caller, client: string, origin: Origin): Promise<string | undefined>;
}

/** What it takes. */
export interface RefreshTokensParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly changes: ChangeSink<AccountChange>;
  readonly idleMs: number;
  readonly maxMs: number;
}

/** Makes what gives them out. */
export function createRefreshTokens({ database, clock, changes, idleMs, maxMs }: RefreshTokensParts): RefreshTokens {
  return {
    async issue(caller, client, origin) {
      if (caller.kind !== "account" || (caller.via.kind !== "password" && caller.via.kind !== "ldap")) return undefined;
      const { accountId } = caller;
      const secret = generateSecret("refresh");
      const name = clientName(client, "client");
      await database.transaction(async (tx) => {
        const now = clock.now();
        const account = await lockAccount(tx, accountId);
        // Its password may have been changed since it was looked at.
        if (account === undefined || account.epoch !== caller.epoch || !isUsable(account, now)) throw new UnauthorizedError();
        await makeRoom(tx, accountId, "refresh");
        const endsAt = now + maxMs;
        const tokenId = await insertCredential(
          tx,
          {
            accountId,
            kind: "refresh",
            name,
            secretHash: hashSecret(secret),
            epoch: account.epoch,
            endsAt,
            expiresAt: Math.min(endsAt, now + idleMs),
            address: origin.address,
          },
          now,
        );
        const actor = actorOf(account, { origin, via: caller.via });
        await changes.record(tx, actor, [{ kind: "token.issued", account: account.name, accountId, token: name, tokenId }]);
      });
      return secret;
    },
  };
}
