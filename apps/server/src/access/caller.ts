// The caller, and the proof of a permission: the types that everything above passes on.
// Not here: authentication (authenticate.ts) and authorization (authorize.ts, the only code that creates grants).
import type { RepositoryName } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import type { NetworkRules } from "../platform/networks.ts";
import type { Actor, Origin } from "./actor.ts";
import type { PersonalBound } from "./personal-bound.ts";
import type { ProjectTraits } from "./project-traits.ts";
import { NO_SIGN_IN, type SignIn } from "./sign-in.ts";

/** The actions on a repository's content. */
export type Action = "pull" | "push" | "delete";

/** Repositories and actions that a token names. A repository without an action was requested and refused. */
export type TokenAccess = ReadonlyMap<RepositoryName, ReadonlySet<Action>>;

/** The sender of a request. */
export type Caller = AnonymousCaller | AccountCaller;

/** A caller without an account: without credentials, or with an anonymous token. */
export interface AnonymousCaller {
  readonly kind: "anonymous";
  /** Undefined where no request was made, and until it is placed (network-rules.ts). */
  readonly origin?: Origin;
  readonly via: SignIn;
  /** Set for a bearer token: the caller may do at most this. */
  readonly access: TokenAccess | undefined;
  /** Whether the bearer token names `registry:catalog:*`. */
  readonly namesCatalog?: boolean;
  /** When the bearer token or the ID token ends, in milliseconds since 1970; undefined if its end does not matter. */
  readonly accessEndsAt?: number | undefined;
}

/** Who brings no credentials. */
export const ANONYMOUS: AnonymousCaller = { kind: "anonymous", via: NO_SIGN_IN, access: undefined };

/** A user or a robot. */
export interface AccountCaller {
  readonly kind: "account";
  /** Undefined where no request was made, and until it is placed (network-rules.ts). */
  readonly origin?: Origin;
  readonly via: SignIn;
  readonly accountId: number;
  readonly name: string;
  readonly isAdmin: boolean;
  /** The account's epoch when it was authenticated; a token issued to this caller carries it. */
  readonly epoch: number;
  /** The row of what it signed in with, where that has one: it may be revoked at any time. */
  readonly credentialId?: number | undefined;
  /** Set for a personal token, and for a bearer token that was given for one: the caller may do at most this. */
  readonly personal?: PersonalBound | undefined;
  /** From where it may be used; undefined: from everywhere. */
  readonly networks?: NetworkRules | undefined;
  /** Set for a bearer token: the caller may do at most this. Undefined for Basic. */
  readonly access: TokenAccess | undefined;
  /** Whether the bearer token names `registry:catalog:*`. */
  readonly namesCatalog?: boolean;
  /** When the bearer token or the ID token ends, in milliseconds since 1970; undefined if its end does not matter. */
  readonly accessEndsAt?: number | undefined;
}

/** A decision that ages, because rights can be revoked: writers have it renewed (granted-transaction.ts). */
export interface Renewable<G> {
  /**
   * The same decision as of now: itself, synchronously, if it is recent and nothing has changed here since; otherwise it is made again, in
   * a transaction by what that one reads. Errors: as the first time.
   */
  renew(tx?: Executor): G | Promise<G>;
}

declare const proof: unique symbol;

/** Proof that a caller may do an action in a repository. Content reads and writes demand one. Made only by `authorize.ts`. */
export interface Grant<A extends Action = Action> extends Renewable<Grant<A>> {
  readonly action: A;
  readonly repository: RepositoryName;
  readonly projectId: number;
  /** The project's traits beyond its members; undefined if it has none. */
  readonly traits: ProjectTraits | undefined;
  /** Patterns of the only tags that may be moved by it (tag-patterns.ts); undefined: any. */
  readonly tags: readonly string[] | undefined;
  /** The actor, for records. */
  readonly actor: Actor;
  readonly [proof]: A;
}
