// A caller in a job's payload, which is JSON: who it is, and not what it may. What a personal token lets through is looked up when the job runs.
// Not here: decisions (authorize.ts), which also see to it that the account and its token still count.
import type { Accounts } from "./accounts.ts";
import type { AccountCaller, Caller } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";

/** A caller without what JSON cannot hold. */
export type StoredCaller = Omit<AccountCaller, "access" | "personal" | "networks">;

/** Takes a caller apart. Errors: UNAUTHORIZED for who has no account, and for a registry token, which names what it is for. */
export function storeCaller(caller: Caller): StoredCaller {
  if (caller.kind === "anonymous" || caller.access !== undefined) throw new UnauthorizedError();
  const { access: _access, personal: _personal, networks: _networks, ...stored } = caller;
  return stored;
}

/** Puts it together again. Errors: UNAUTHORIZED where the token that it came by is gone. */
export async function recallCaller(stored: StoredCaller, accounts: Pick<Accounts, "findCredential">): Promise<AccountCaller> {
  const caller: AccountCaller = { ...stored, access: undefined, personal: undefined };
  if (stored.credentialId === undefined) return caller;
  const credential = await accounts.findCredential(stored.credentialId);
  // Without its bound it would let through all that its user may.
  if (credential === undefined) throw new UnauthorizedError();
  return { ...caller, personal: credential.bound };
}
