// Who asks, and the proof that they may: the types that everything above passes along.
// Not here: how a caller is recognised (authenticate.ts) and how a grant is decided (authorize.ts, the only maker of grants).
import type { RepositoryName } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import type { Actor, Origin } from "./actor.ts";
import type { PersonalBound } from "./personal-bound.ts";
import type { ProjectTraits } from "./project-traits.ts";
import type { SignIn } from "./sign-in.ts";

/** What can be done to a repository's content. */
export type Action = "pull" | "push" | "delete";

/** Repositories and actions that a token names. A repository that it names with no action was asked for and refused. */
export type TokenAccess = ReadonlyMap<RepositoryName, ReadonlySet<Action>>;

/** Who sends a request. */
export type Caller = AnonymousCaller | AccountCaller;

/** Nobody in particular: without credentials, or with a token that was given without any. */
export interface AnonymousCaller {
  readonly kind: "anonymous";
  /** Undefined where the request changes nothing. */
  readonly origin?: Origin;
  readonly via: SignIn;
  /** Set for a bearer token: the caller may do at most this. */
  readonly access: TokenAccess | undefined;
  /** Whether the bearer token names `registry:catalog:*`. */
  readonly namesCatalog?: boolean;
  /** When the bearer token or the ID token ends, in milliseconds since 1970; undefined where its end does not matter. */
  readonly accessEndsAt?: number | undefined;
}

/** A user or a robot. */
export interface AccountCaller {
  readonly kind: "account";
  /** Undefined where the request changes nothing. */
  readonly origin?: Origin;
  readonly via: SignIn;
  readonly accountId: number;
  readonly name: string;
  readonly isAdmin: boolean;
  /** The account's epoch when it was recognised; a token that is made for this caller carries it on. */
  readonly epoch: number;
  /** The row of what it signed in with, where that has one: it may be revoked at any time. */
  readonly credentialId?: number | undefined;
  /** Set for a personal token, and for a bearer token that was given for one: the caller may do at most this. */
  readonly personal?: PersonalBound | undefined;
  /** Set for a bearer token: the caller may do at most this. Undefined for Basic. */
  readonly access: TokenAccess | undefined;
  /** Whether the bearer token names `registry:catalog:*`. */
  readonly namesCatalog?: boolean;
  /** When the bearer token or the ID token ends, in milliseconds since 1970; undefined where its end does not matter. */
  readonly accessEndsAt?: number | undefined;
}

/** A decision that ages, since rights are taken away: who writes by it has it renewed (granted-transaction.ts). */
export interface Renewable<G> {
  /**
   * The same decision as of now: itself, at once, where it is recent and nothing has changed here since; else it is taken again, inside a
   * transaction by what that one reads. Errors: as the first time.
   */
  renew(tx?: Executor): G | Promise<G>;
}

declare const proof: unique symbol;

/** Proof that a caller may do an action in a repository. Content reads and writes demand one. Made only by `authorize.ts`. */
export interface Grant<A extends Action = Action> extends Renewable<Grant<A>> {
  readonly action: A;
  readonly repository: RepositoryName;
  readonly projectId: number;
  /** What the project has beyond its members; undefined where that is nothing. */
  readonly traits: ProjectTraits | undefined;
  /** Who acts, for the records. */
  readonly actor: Actor;
  readonly [proof]: A;
}
