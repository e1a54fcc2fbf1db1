// What operations have in common that stand twice, below a project and for the registry. Not here: those operations (robots.ts, trust.ts,
// webhooks.ts).
import type { Permission } from "./permissions.ts";

/** Where one of the two sets of operations is. */
export interface Home<S extends string, R extends Permission, W extends Permission> {
  /** In the operations' ids. */
  readonly suffix: S;
  readonly path: string;
  /** In summaries: whose it is. */
  readonly of: string;
  readonly read: R;
  readonly write: W;
  /** Errors where the home itself is not there. */
  readonly missing: readonly "PROJECT_UNKNOWN"[];
}
