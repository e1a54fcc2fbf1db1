// Who asks, and the proof that they may: the types that everything above passes along.
// Not here: how a caller is recognised (authenticate.ts) and how a grant is decided (authorize.ts, the only maker of grants).
import type { RepositoryName } from "@berth/oci/reference";

/** What can be done to a repository's content. */
export type Action = "pull" | "push" | "delete";

/** Repositories and actions that a token names. A repository that it names with no action was asked for and refused. */
export type TokenAccess = ReadonlyMap<RepositoryName, ReadonlySet<Action>>;

/** Who sends a request. */
export type Caller =
  | { readonly kind: "anonymous"; readonly access: TokenAccess | undefined }
  | {
      readonly kind: "account";
      readonly accountId: number;
      readonly name: string;
      readonly isAdmin: boolean;
      /** Set for a bearer token: the caller may do at most this. Undefined for Basic. */
      readonly access: TokenAccess | undefined;
    };

declare const proof: unique symbol;

/** Proof that a caller may do an action in a repository. Content reads and writes demand one. Made only by `authorize.ts`. */
export interface Grant<A extends Action = Action> {
  readonly action: A;
  readonly repository: RepositoryName;
  readonly projectId: number;
  /** Who acts, for the records; null for an anonymous pull. */
  readonly accountId: number | null;
  readonly [proof]: A;
}
