// The ports of the data plane to the control plane, whose implementations compose.ts passes in. A missing port is not asked. Not here: any
// feature; the ports of writing (content/rules.ts), of reading (gate.ts) and of other registries (upstream.ts).
import type { ContentRules } from "../content/rules.ts";
import type { Gate } from "./gate.ts";
import type { Upstream } from "./upstream.ts";

/** The ports, each optional. */
export interface Ports extends ContentRules {
  /** All gates of a project are asked; the first refusal counts. */
  readonly gates?: readonly Gate[];
  /** The first upstream whose trait a project has is asked for missing content. */
  readonly upstreams?: readonly Upstream[];
}
