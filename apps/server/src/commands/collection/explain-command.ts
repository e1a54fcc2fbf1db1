// `gc --dry-run`: what it opens, and its report. Reads only, and works beside the server on either database. Not here: the explanations
// (explain.ts), arguments (main.ts).
import { isDigest } from "@berth/oci/digest";
import type { Config } from "../../config.ts";
import { systemClock } from "../../platform/clock.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import { disposable } from "../../platform/disposable.ts";
import type { Logger } from "../../platform/log.ts";
import { shownBytes, type Report } from "../../platform/report.ts";
import { UsageError } from "../../platform/startup-error.ts";
import { COUNTED } from "./candidates-store.ts";
import { countUntagged } from "./untagged.ts";
import { explain, type Explained, type ExplainedLink } from "./explain.ts";

/** `--limit` asks for a quick answer: this many manifests are read in a second or two. */
const LOOKED_AT_SOON = 50_000;

/** The parts that the command gets: openers for what the configuration names, and the report. */
export interface ExplainCommandParts {
  readonly config: Config;
  readonly logger: Logger;
  readonly report: Report;
  openReader(config: Config, logger: Logger): Promise<DatabaseReader>;
}

/** Reports what the next round of collection would delete and what it would keep. Errors: `UsageError`. */
export async function runExplain(
  { config, logger, report, openReader }: ExplainCommandParts,
  options: { readonly limit: string | undefined; readonly digest: string | undefined },
): Promise<boolean> {
  const { limit, digest } = options;
  if (limit !== undefined && !/^[1-9]\d{0,14}$/.test(limit)) throw new UsageError("--limit is a number from 1 on");
  if (digest !== undefined && !isDigest(digest)) throw new UsageError("--digest is a blob's digest, such as sha256:…");
  const most = limit === undefined ? Number.POSITIVE_INFINITY : Number(limit);
  const taken = { uploads: 0, blobs: 0, keys: 0 };
  const kept = { uploads: 0, blobs: 0, keys: 0 };
  let freedBytes = 0;
  let explained = 0;
  await using reader = disposable(await openReader(config, logger));
  for await (const each of explain(reader.it.live, { now: systemClock.now(), limit: most, digest })) {
    report.line(each.kind, { ...each, kind: undefined }, `${each.verdict} ${textOf(each)}`);
    const count = each.verdict === "taken" ? taken : kept;
    count[`${each.kind}s`]++;
    if (each.verdict === "taken" && (each.kind === "key" || (each.kind === "blob" && each.otherRepositories === 0)))
      freedBytes += each.sizeBytes;
    explained++;
  }
  if (digest !== undefined && explained === 0) report.line("unknown", { digest }, `no repository has ${digest}`);
  if (digest === undefined) {
    const untagged = await countUntagged(reader.it.live, limit === undefined ? Number.POSITIVE_INFINITY : LOOKED_AT_SOON);
    const { manifests, bytes } = untagged;
    report.line(
      "untagged",
      untagged,
      `kept without a tag: ${manifests} manifests, ${shownBytes(bytes)} with what they alone hold` +
        (untagged.isComplete ? "" : `, of the first ${LOOKED_AT_SOON}`),
    );
  }
  // Exactly the requested number may be all that there is, but nothing checked that.
  const isComplete = explained < most;
  report.line(
    "result",
    { taken, kept, freedBytes, isComplete },
    `taken: ${shownCounts(taken)}, ${shownBytes(freedBytes)}; kept: ${shownCounts(kept)}${isComplete ? "" : "; there may be more"}`,
  );
  return true;
}

function shownCounts({ blobs, keys, uploads }: { blobs: number; keys: number; uploads: number }): string {
  return `${blobs} blobs of repositories, ${keys} keys, ${uploads} uploads`;
}

function textOf(each: Explained): string {
  switch (each.kind) {
    case "blob":
      return `blob ${each.repository}@${each.digest} (${shownBytes(each.sizeBytes)}): ${reasonOf(each)}`;
    case "key": {
      const why = {
        unreferenced: "no blob uses it",
        grace: `no blob uses it; readers may end until ${each.dueAt}`,
        failed: `it could not be deleted; tried again at ${each.dueAt}`,
        blob: `blob ${each.usedBy} uses it`,
      };
      return `key ${each.key} (${shownBytes(each.sizeBytes)}): ${why[each.reason]}`;
    }
    case "upload": {
      const why = {
        expired: each.expiresAt === undefined ? "it was given up" : `it expired at ${each.expiresAt}`,
        writer: "somebody writes to it now",
        open: `it may go on until ${each.expiresAt}`,
      };
      return `upload ${each.id} to ${each.repository} (${shownBytes(each.receivedBytes)}): ${why[each.reason]}`;
    }
  }
}

function reasonOf({ reason, heldBy, leasedUntil, otherRepositories, otherRepository }: ExplainedLink): string {
  if (reason === "manifest" && heldBy !== undefined) {
    const tags = heldBy.tags.length === 0 ? "" : `, tagged ${heldBy.tags.join(", ")}`;
    const indexes = heldBy.indexes.length === 0 ? "" : `, listed by ${heldBy.indexes.join(", ")}`;
    return `manifest ${heldBy.manifest} holds it${tags}${indexes}`;
  }
  if (reason === "lease") return leasedUntil === undefined ? "its last manifest goes just now" : `leased until ${leasedUntil}`;
  const ended = `nothing holds it since ${leasedUntil}`;
  if (otherRepositories === 0) return `${ended}; its bytes go`;
  const others =
    otherRepositories === COUNTED ? `${COUNTED} or more others` : `${otherRepositories} other${otherRepositories === 1 ? "" : "s"}`;
  return `${ended}; its bytes stay for ${others}, such as ${otherRepository}`;
}
