// The actor of a change and the origin of its request: every grant carries it, so that changes can be recorded with it.
// Not here: authorization (authorize.ts), what is recorded (changes.ts).
import type { Account } from "./account-store.ts";
import type { Caller } from "./caller.ts";
import { NO_SIGN_IN, type SignIn } from "./sign-in.ts";

/** The origin of a request. */
export interface Origin {
  readonly requestId: string;
  /** The client's address, also behind trusted proxies. */
  readonly address: string;
}

/** The actor. Its name is stored beside its id, so that its actions can still be read after the account is deleted. */
export interface Actor {
  readonly kind: "user" | "robot" | "anonymous" | "system";
  /** Null for anonymous and for the system. */
  readonly accountId: number | null;
  /** The login name; empty for anonymous. For the system: what acted, such as a command and its user. */
  readonly name: string;
  /** Undefined for what no request asked for. */
  readonly origin: Origin | undefined;
  /** The credential that was used. */
  readonly via: SignIn;
}

/** Creates the actor of a decision. `account`: undefined for anonymous. `caller`: the authenticated caller. */
export function actorOf(
  account: Pick<Account, "id" | "kind" | "name"> | undefined,
  caller: Pick<Caller, "origin" | "via"> | undefined,
): Actor {
  const origin = caller?.origin;
  const via = caller?.via ?? NO_SIGN_IN;
  if (account === undefined) return { kind: "anonymous", accountId: null, name: "", origin, via };
  return { kind: account.kind, accountId: account.id, name: account.name, origin, via };
}

/** Creates the actor of work without a request: a job, a command. */
export function systemActor(name: string): Actor {
  return { kind: "system", accountId: null, name, origin: undefined, via: NO_SIGN_IN };
}
