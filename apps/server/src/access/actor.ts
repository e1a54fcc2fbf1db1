// Who did something, and where it came from: what every grant carries, so that changes can be recorded with it.
// Not here: who may (authorize.ts), what is recorded (changes.ts).
import type { Account } from "./account-store.ts";
import type { Caller } from "./caller.ts";
import { NO_SIGN_IN, type SignIn } from "./sign-in.ts";

/** Where a request came from. */
export interface Origin {
  readonly requestId: string;
  /** The client's, behind trusted proxies as well. */
  readonly address: string;
}

/** Who acts. Its name is kept beside its id: accounts are deleted, and what they did is still to be read. */
export interface Actor {
  readonly kind: "user" | "robot" | "anonymous" | "system";
  /** Null for anonymous and for the system. */
  readonly accountId: number | null;
  /** The login name; empty for anonymous. Of the system: what acted, such as a command and who ran it. */
  readonly name: string;
  /** Undefined where no request changes anything by it: a pull's. */
  readonly origin: Origin | undefined;
  /** By which credential. */
  readonly via: SignIn;
}

/** Makes the actor of a decision. `account`: undefined for anonymous. `caller`: who asked, as it was recognised. */
export function actorOf(
  account: Pick<Account, "id" | "kind" | "name"> | undefined,
  caller: Pick<Caller, "origin" | "via"> | undefined,
): Actor {
  const origin = caller?.origin;
  const via = caller?.via ?? NO_SIGN_IN;
  if (account === undefined) return { kind: "anonymous", accountId: null, name: "", origin, via };
  return { kind: account.kind, accountId: account.id, name: account.name, origin, via };
}

/** Makes the actor of what no request asked for: a job, a command. */
export function systemActor(name: string): Actor {
  return { kind: "system", accountId: null, name, origin: undefined, via: NO_SIGN_IN };
}
