// The safety lines of the data plane's ports: what a gate refuses is not given out, and what an upstream gives is what was asked for.
// Not here: all others (cuts.ts).
import type { Cut } from "./cuts.ts";

const SERVER = "apps/server/src";

const GATE = "test/flows/gate.test.ts";

/** Of the gates. */
export const PORT_CUTS: readonly Cut[] = [
  {
    invariant: 16,
    what: "a gate is asked about manifests",
    file: `${SERVER}/distribution/pull.ts`,
    from: "    if (grant.traits !== undefined) return admitManifest(grant, reference, found);\n",
    to: "",
    test: GATE,
    name: "refuses a manifest by tag and by digest",
  },
  {
    invariant: 16,
    what: "a gate is asked about blobs",
    file: `${SERVER}/distribution/pull.ts`,
    from: "    if (grant.traits !== undefined) return admitBlob(caller, grant, digest, isHead);\n",
    to: "",
    test: GATE,
    name: "gives a blob out where one manifest that leads to it may be pulled",
  },
  {
    invariant: 16,
    what: "who pushes is told that a blob exists, and gets no byte of it",
    file: `${SERVER}/distribution/pull.ts`,
    from: "if (isHead && isRefusal(error)",
    to: "if (isRefusal(error)",
    test: GATE,
    name: "gives a blob out where one manifest that leads to it may be pulled",
  },
  {
    invariant: 16,
    what: "a gate is asked about mounts",
    file: `${SERVER}/distribution/mount.ts`,
    from: "    if (source.traits !== undefined) {\n",
    to: "    if (false as boolean) {\n",
    test: GATE,
    name: "mounts nothing out of a repository that may not be pulled",
  },
  {
    invariant: 16,
    what: "an answer that is no verdict is no permission",
    file: `${SERVER}/distribution/gatekeeper.ts`,
    from: "  if (allowed !== true && allowed !== false) throw",
    to: "  if (false as boolean) throw",
    test: GATE,
    name: "fails closed",
  },
  {
    invariant: 16,
    what: "a gate that does not answer gives no permission",
    file: `${SERVER}/distribution/gatekeeper.ts`,
    from: "Promise.race([answer, late.promise])",
    to: "Promise.race([answer, late.promise.catch(() => ({ allowed: true }) as Verdict)])",
    test: `${SERVER}/distribution/gatekeeper.test.ts`,
    name: "a gate that does not answer in time",
  },
  {
    invariant: 16,
    what: "of several gates, all must allow one and the same manifest of a blob",
    file: `${SERVER}/distribution/gatekeeper.ts`,
    from: "asked.length === 1 && gate.blobVerdict",
    to: "gate.blobVerdict",
    test: `${SERVER}/distribution/gatekeeper.test.ts`,
    name: "a blob of two manifests",
  },
  {
    invariant: 16,
    what: "a project that has something of a newer release is closed",
    file: `${SERVER}/access/authorize.ts`,
    from: "      if (standing.traits !== undefined) refuseUnknownTraits(standing.projectId, standing.traits);\n",
    to: "",
    test: `${SERVER}/access/project-traits.test.ts`,
    name: "close the project to who had rights",
  },
];
