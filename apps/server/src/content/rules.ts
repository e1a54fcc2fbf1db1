// The ports through which features may refuse writes inside the transactions of content: quotas for bytes, and rules for changes of tags. A
// project without the port's trait costs one comparison. Not here: any quota or rule (features), gates for reading (distribution/gate.ts).
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
 * Keeps projects within their quota of bytes. Bytes are counted as usage is (usage.ts): a blob counts for each repository that has it, a
 * manifest for its own bytes. Deletions are not reported: the ledger reads usage, or counts anew.
 */
export interface QuotaLedger {
  /** Projects without this trait are never checked. */
  readonly trait: ProjectTrait;
  /**
   * Takes bytes that are new to a repository of the grant's project: in the transaction that stores them, as its last step before tags, so
   * that they are returned when it fails, and that of two concurrent writers the second sees what the first took. It ends the upload's
   * reservation.
   * Errors: DENIED (`quotaExceeded`).
   */
  take(tx: Executor, grant: Grant<"push">, newBytes: number, upload: string | undefined): Promise<void>;
  /**
   * Reserves room for all bytes of a running upload, replacing its earlier reservation, until a time at which it expires. It only refuses
   * an upload before its bytes are sent: `take` decides. Errors: DENIED.
   */
  reserve(grant: Grant<"push">, upload: string, sizeBytes: number, until: number): Promise<void>;
  /** Drops the reservation of an upload that failed or was cancelled, if there is one. */
  release(grant: Grant<"push">, upload: string): Promise<void>;
}

/** One change of a tag that is about to happen. */
export interface TagWrite {
  readonly tag: Tag;
  /** The digest that it names now, with the tag locked; undefined: the tag is new. */
  readonly from: Digest | undefined;
  /** Undefined: the tag is deleted, alone or with its manifest. */
  readonly to: Digest | undefined;
}

/** The writer, and the repository. */
export interface TagWriter {
  readonly actor: Actor;
  readonly repository: RepositoryName;
  readonly projectId: number;
  readonly traits: NonNullable<Grant["traits"]>;
}

/** Decides on changes of tags, for example that some tags never change. */
export interface TagRule {
  /** Projects without this trait are never checked. */
  readonly trait: ProjectTrait;
  /**
   * Why one of the changes is refused; undefined if all are allowed. It runs in the transaction that makes them, with many changes where a
   * manifest is deleted with its tags. An error that it throws fails the transaction, and is no permission.
   */
  refusalOf(tx: Executor, writer: TagWriter, writes: readonly TagWrite[]): string | undefined | Promise<string | undefined>;
}

/** The ports of writing, each optional. */
export interface ContentRules {
  readonly quota?: QuotaLedger | undefined;
  /** All rules of a project are asked; the first refusal counts. */
  readonly tagRules?: readonly TagRule[] | undefined;
}

/** No quotas and no rules. */
export const NO_RULES: ContentRules = {};
const NO_TAG_RULES: readonly TagRule[] = [];
const MAX_REASON_CHARACTERS = 300;

/** The ledger for the grant's project. */
export function quotaOf({ traits }: Grant<"push">, { quota }: ContentRules): QuotaLedger | undefined {
  return traits !== undefined && quota !== undefined && traits.has(quota.trait) ? quota : undefined;
}

/** The rules for the grant's project. */
export function tagRulesOf({ traits }: Grant, { tagRules }: ContentRules): readonly TagRule[] {
  return traits === undefined || tagRules === undefined ? NO_TAG_RULES : tagRules.filter(({ trait }) => traits.has(trait));
}

/** Asks the rules of the repository's project. Errors: DENIED. */
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

/** The error for bytes beyond the quota, with the numbers in its message, because clients print nothing else. */
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
