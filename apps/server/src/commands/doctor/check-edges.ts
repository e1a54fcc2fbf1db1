// Checks the references in the tables: leases of links, edges of manifests, and, in a deep check, the manifests themselves.
import { algorithmOf, digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest, type ParsedManifest } from "@berth/oci/manifest";
import { EDGES_VERSION } from "../../content/older-manifests.ts";
import { isTombstone } from "../../content/repositories.ts";
import type { DoctorParts, ProblemKind } from "./doctor.ts";
import {
  findManifest,
  leaseLink,
  listCrossed,
  listEdges,
  listEngineFaults,
  listLinks,
  listManifests,
  MANIFEST_PAGE,
  PAGE,
} from "./doctor-store.ts";

/** A running collector examines a lease within minutes of its end. */
const LATE_MS = 3_600_000;

/** Checks all links of repositories to blobs; returns their number. */
export async function checkEdges(parts: DoctorParts): Promise<number> {
  const { executor, repairs, clock, times } = parts;
  let links = 0;
  let after = { repositoryId: 0, blobId: 0 };
  for (;;) {
    const page = await executor.all(listLinks, after);
    for (const link of page) {
      // Everything of a deleted repository is removed, held or not.
      if (isTombstone(link.name)) continue;
      const common = { subject: link.digest, repositories: [link.name] };
      if (link.leased_until === null && link.is_held === 0) {
        const until = clock.now() + times.leaseMs;
        const isRepaired = repairs !== undefined && (await leaseLink(repairs, link.repository_id, link.blob_id, until));
        const detail = "no manifest holds it, and it has no lease that would end";
        parts.onProblem({ kind: "link-kept", ...common, detail, isRepaired });
      }
      if (link.leased_until !== null && link.is_held === 1 && link.leased_until < clock.now() - LATE_MS) {
        const detail = `a manifest holds it, but its lease ended at ${new Date(link.leased_until).toISOString()}: does a collector run?`;
        parts.onProblem({ kind: "lease-late", ...common, detail, isRepaired: false });
      }
    }
    links += page.length;
    parts.onProgress({ phase: "links", done: links, bytes: 0, after: undefined });
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE) break;
    after = { repositoryId: last.repository_id, blobId: last.blob_id };
  }
  for (const { kind, manifest_id, detail } of await executor.all(listCrossed, {})) {
    const words = `a ${kind} to ${detail} is of another repository than its manifest`;
    parts.onProblem({ kind: "edge-crossed", subject: `manifest ${manifest_id}`, detail: words, repositories: [], isRepaired: false });
  }
  for (const detail of await listEngineFaults(executor, parts.isDeep)) {
    parts.onProblem({ kind: "engine", subject: executor.dialect, detail, repositories: [], isRepaired: false });
  }
  return links;
}

/** Reads every manifest and compares what it names with its edges; returns their number. */
export async function checkManifests(parts: DoctorParts): Promise<number> {
  const { executor } = parts;
  let manifests = 0;
  let bytes = 0;
  let after = 0;
  for (;;) {
    const page = await executor.all(listManifests, { after });
    const edges = await executor.all(listEdges, { ids: page.map((row) => row.id) });
    for (const row of page) {
      const own = edges.filter((edge) => edge.manifest_id === row.id);
      const faults = faultsOf(row, own);
      // It was deleted between the two statements, with its edges.
      if (faults.length > 0 && (await executor.first(findManifest, { id: row.id })) !== undefined) {
        for (const fault of faults) parts.onProblem({ ...fault, subject: row.digest, repositories: [row.name], isRepaired: false });
      }
      bytes += row.bytes.length;
      await parts.rateLimiter(row.bytes.length);
    }
    manifests += page.length;
    parts.onProgress({ phase: "manifests", done: manifests, bytes, after: undefined });
    after = page.at(-1)?.id ?? after;
    if (page.length < MANIFEST_PAGE) return manifests;
  }
}

interface Edge {
  readonly digest: string;
  readonly kind: string;
}

function faultsOf(
  row: { readonly digest: string; readonly media_type: string; readonly bytes: Uint8Array; readonly edges_version: number },
  edges: readonly Edge[],
): { readonly kind: ProblemKind; readonly detail: string }[] {
  const digest = digestOf(row.bytes, algorithmOf(row.digest as Digest));
  if (digest !== row.digest) return [{ kind: "manifest-rotten", detail: `its bytes have the digest ${digest}` }];
  let parsed: ParsedManifest;
  try {
    parsed = parseManifest(row.bytes, row.media_type);
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error;
    return [{ kind: "manifest-refused", detail: `it was taken once, and would be refused today: ${error.message}` }];
  }
  // Its edges are those of an earlier release until it is read again (content/older-manifests.ts).
  if (row.edges_version < EDGES_VERSION) return [];
  const compare = (kind: string, named: readonly string[]) => {
    const says = new Set(named);
    const has = new Set(edges.filter((edge) => edge.kind === kind).map((edge) => edge.digest));
    return [
      ...[...says.difference(has)].map((each) => ({
        kind: "edge-missing" as const,
        detail: `no edge holds the ${kind} ${each} that it names`,
      })),
      ...[...has.difference(says)].map((each) => ({
        kind: "edge-surplus" as const,
        detail: `an edge holds the ${kind} ${each} that it does not name`,
      })),
    ];
  };
  const named = [...parsed.blobs.map((each) => each.digest), ...parsed.alsoNamed];
  return [
    ...compare("blob", named),
    ...compare(
      "child",
      parsed.children.map((each) => each.digest),
    ),
  ];
}
