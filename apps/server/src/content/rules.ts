// What features may forbid inside the transactions of content: bytes beyond a project's quota, and changes of tags. A project without the port's
// trait pays a comparison. Here: the ports and how they are asked. Not here: any quota or rule (features), gates of reading (distribution/gate.ts).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import { plainLine } from "@berth/oci/warnings";
import type { Actor } from "../access/actor.ts";
import type { Grant } from "../access/caller.ts";
import type { ProjectTrait } from "../access/project-traits.ts";
import type { Executor } from "../platform/database/database.ts";
import type { GrantedRepository } from "./repositories.ts";

/**
 * Keeps projects within their bytes. Bytes are counted as usage is (usage.ts): a blob counts for each repository that has it, a manifest for its
 * own bytes. What is deleted is told to nobody: the ledger reads usage, or counts anew.
 */
export interface QuotaLedger {
  /** Projects without it are never asked about. */
  readonly trait: ProjectTrait;
  /**
   * Takes bytes that are new to a repository of the grant's project: in the transaction that stores them, last but for tags, so that they are
   * given back when it fails, and that of two who want the same room the second sees what the first took. It ends the upload's reservation.
   * Errors: DENIED (`quotaExceeded`).
   */
  take(tx: Executor, grant: Grant<"push">, newBytes: number, upload: string | undefined): Promise<void>;
  /**
   * Sets aside room for all bytes of an upload that is running, instead of what was set aside for it before; until a time at which it is
   * forgotten. Only so that an upload is refused before its bytes are sent: `take` decides. Errors: DENIED.
   */
  reserve(grant: Grant<"push">, upload: string, sizeBytes: number, until: number): Promise<void>;
  /** Forgets what was set aside for an upload that failed or was cancelled; nothing where there is none. */
  release(grant: Grant<"push">, upload: string): Promise<void>;
}

/** One change of a tag that is about to happen. */
export interface TagWrite {
  readonly tag: Tag;
  /** What it names now, which is locked; undefined: it is new. */
  readonly from: Digest | undefined;
  /** Undefined: it is deleted, alone or with what it names. */
  readonly to: Digest | undefined;
}

/** Who writes, and where. */
export interface TagWriter {
  readonly actor: Actor;
  readonly repository: RepositoryName;
  readonly projectId: number;
  readonly traits: NonNullable<Grant["traits"]>;
}

/** Judges changes of tags, such as that some may never change. */
export interface TagRule {
  /** Projects without it are never asked about. */
  readonly trait: ProjectTrait;
  /**
   * Why one of the changes must not be; undefined where all may. In the transaction that makes them. Many at once where a manifest goes with its
   * tags. What it throws fails the transaction: no permission.
   */
  refusalOf(tx: Executor, writer: TagWriter, writes: readonly TagWrite[]): string | undefined | Promise<string | undefined>;
}

/** The ports of writing, each optional. */
export interface ContentRules {
  readonly quota?: QuotaLedger | undefined;
  /** All that have a word in a project are asked; what one of them refuses is refused. */
  readonly tagRules?: readonly TagRule[] | undefined;
}

/** Nothing is forbidden. */
export const NO_RULES: ContentRules = {};
const NO_TAG_RULES: readonly TagRule[] = [];
const MAX_REASON_CHARACTERS = 300;

/** The ledger that has a word in the grant's project. */
export function quotaOf({ traits }: Grant<"push">, { quota }: ContentRules): QuotaLedger | undefined {
  return traits !== undefined && quota !== undefined && traits.has(quota.trait) ? quota : undefined;
}

/** The rules that have a word in the grant's project. */
export function tagRulesOf({ traits }: Grant, { tagRules }: ContentRules): readonly TagRule[] {
  return traits === undefined || tagRules === undefined ? NO_TAG_RULES : tagRules.filter(({ trait }) => traits.has(trait));
}

/** Asks rules of the repository's project. Errors: DENIED. */
export async function checkTagWrites(
  tx: Executor,
  { grant }: GrantedRepository,
  rules: readonly TagRule[],
  writes: readonly TagWrite[],
): Promise<void> {
  const { actor, repository, projectId, traits } = grant;
  if (traits === undefined) return;
  for (const rule of rules) {
    const reason = await rule.refusalOf(tx, { actor, repository, projectId, traits }, writes);
    if (reason === undefined) continue;
    const plain = plainLine(reason, MAX_REASON_CHARACTERS);
    const tags = writes.slice(0, 10).map(({ tag }) => tag);
    throw new RegistryError("DENIED", {
      message: `a tag of ${repository} must not change: ${plain}`,
      detail: { repository, tags, reason: plain },
    });
  }
}

/** What a client gets whose bytes do not fit: with the numbers, since clients print the message alone. */
export function quotaExceeded(
  { repository }: Grant<"push">,
  numbers: { readonly limitBytes: number; readonly usedBytes: number; readonly newBytes: number },
): RegistryError {
  const { limitBytes, usedBytes, newBytes } = numbers;
  const project = repository.slice(0, repository.indexOf("/"));
  return new RegistryError("DENIED", {
    message: `the quota of project ${project} is exceeded: ${usedBytes} of ${limitBytes} bytes are used or reserved, and this needs ${newBytes} more`,
    detail: { project, ...numbers },
  });
}
