// Who did something, and where it came from: what every grant carries, so that changes can be recorded with it.
// Not here: who may (authorize.ts), what is recorded (changes.ts).
import type { Account } from "./account-store.ts";

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
}

/** Makes the actor of a decision. `account`: undefined for anonymous. */
export function actorOf(account: Pick<Account, "id" | "kind" | "name"> | undefined, origin: Origin | undefined): Actor {
  if (account === undefined) return { kind: "anonymous", accountId: null, name: "", origin };
  return { kind: account.kind, accountId: account.id, name: account.name, origin };
}

/** Makes the actor of what no request asked for: a job, a command. */
export function systemActor(name: string): Actor {
  return { kind: "system", accountId: null, name, origin: undefined };
}
