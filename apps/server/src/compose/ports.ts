// What features bring to the data plane: the traits of projects that they know, and the ports that they answer. None does yet.
// Not here: the ports themselves (distribution/ports.ts), who asks them.
import type { ProjectTrait } from "../access/project-traits.ts";
import type { Ports } from "../distribution/ports.ts";
import type { Foundation } from "./foundation.ts";

/** The features' part of a server. */
export interface FeaturePorts {
  /** All that projects may have; a project that has something else is closed (access/project-traits.ts). */
  readonly traits: readonly ProjectTrait[];
  /** Makes the ports' answers, once a server. */
  open(foundation: Pick<Foundation, "database" | "clock">): Ports;
}

/** No feature has a port. */
export const NO_PORTS: FeaturePorts = { traits: [], open: () => ({}) };
