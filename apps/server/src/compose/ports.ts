// What features bring to the data plane: the traits of projects that they know, and the ports that they implement. None does yet. Not here:
// the ports themselves (distribution/ports.ts), their callers.
import type { ProjectTrait } from "../access/project-traits.ts";
import type { Ports } from "../distribution/ports.ts";
import type { Foundation } from "./foundation.ts";

/** The features' part of a server. */
export interface FeaturePorts {
  /** All traits that projects may have; a project with another one is closed (access/project-traits.ts). */
  readonly traits: readonly ProjectTrait[];
  /** Creates the implementations, once for each server. */
  open(foundation: Pick<Foundation, "database" | "clock">): Ports;
}

/** No feature implements a port; from where projects may be used is decided by access itself. */
export const NO_PORTS: FeaturePorts = { traits: [], open: () => ({}) };
