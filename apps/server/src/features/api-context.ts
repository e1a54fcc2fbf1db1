// What a route of the control plane knows of its request besides the validated input. Not here: how it is found (http/api).
import type { Caller } from "../access/caller.ts";

/** Who asks, and from where. */
export interface ApiContext {
  readonly caller: Caller;
  readonly remoteAddress: string;
}
