// The safety lines of the data plane's ports: what a gate refuses is not given out, what a quota or a tag rule refuses is not stored, and what an
// upstream gives is what was asked for.
// Not here: all others (cuts.ts).
import type { Cut } from "./cuts.ts";

const SERVER = "apps/server/src";

const GATE = "test/flows/gate.test.ts";
const QUOTA = `${SERVER}/distribution/quota.test.ts`;
const TAG_RULES = `${SERVER}/distribution/tag-rules.test.ts`;

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
  {
    invariant: 18,
    what: "a quota is asked for what a repository gets",
    file: `${SERVER}/content/blobs.ts`,
    from: "    await quota?.take(tx, grant, isNew ? sizeBytes : 0, upload);\n",
    to: "    void upload;\n    void sizeBytes;\n",
    test: QUOTA,
    name: "refuses what does not fit, by every way in, and keeps nothing of it",
  },
  {
    invariant: 18,
    what: "a quota takes what is new, and that alone",
    file: `${SERVER}/content/blobs.ts`,
    from: "isNew ? sizeBytes : 0",
    to: "sizeBytes",
    test: QUOTA,
    name: "takes what is new, and nothing for what is there",
  },
  {
    invariant: 18,
    what: "a quota is asked for manifests",
    file: `${SERVER}/content/manifests.ts`,
    from: "        if (added !== undefined) await quota?.take(tx, grant, bytes.length, undefined);\n",
    to: "",
    test: QUOTA,
    name: "refuses what does not fit, by every way in, and keeps nothing of it",
  },
  {
    invariant: 18,
    what: "a quota is asked before an upload's bytes are read",
    file: `${SERVER}/distribution/upload-session.ts`,
    from: "    if (quota === undefined) return chunk;\n",
    to: "    if (quota !== undefined || upload.id === grant.repository) return chunk;\n",
    test: QUOTA,
    name: "keeps room for an upload that goes on, until its time",
  },
  {
    invariant: 18,
    what: "rules are asked before a tag is set",
    file: `${SERVER}/content/tags.ts`,
    from: "    if (asked.length > 0) await checkTagWrites(tx, repository, asked, [{ tag, from, to: digest }]);\n",
    to: "",
    test: TAG_RULES,
    name: "refuses by every way, and leaves all as it was",
  },
  {
    invariant: 18,
    what: "rules are asked before a tag is deleted",
    file: `${SERVER}/content/tags.ts`,
    from: "    await checkTagWrites(tx, repository, asked, [{ tag, from: await digestOf(tx, current), to: undefined }]);\n",
    to: "",
    test: TAG_RULES,
    name: "refuses by every way, and leaves all as it was",
  },
  {
    invariant: 11,
    what: "a job's grant ends with its project",
    file: `${SERVER}/access/authorize.ts`,
    from: " || (known !== undefined && known !== standing.projectId)",
    to: "",
    test: `${SERVER}/access/system-grants.test.ts`,
    name: "end with their project, also where another has its name",
  },
];
