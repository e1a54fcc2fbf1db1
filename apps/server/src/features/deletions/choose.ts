// What of the manifests that were chosen goes, and what stays because of what: pure. Not here: looking for what holds them (survey.ts).
import type { StayReason } from "./deletion-tables.ts";

/** A manifest that was chosen, with what holds it. */
export interface Candidate {
  readonly id: number;
  readonly digest: string;
  readonly sizeBytes: number;
  /** A tag that was not chosen and names it. */
  readonly otherTag: string | undefined;
  /** Indexes of the repository that name it. */
  readonly parents: readonly string[];
  /** The manifest that it is about, where the repository has that. */
  readonly subject: string | undefined;
  /** Whether it has more tags or parents than were looked at. */
  readonly isCrowded: boolean;
}

/** Why something stays. */
export interface Stay {
  readonly because: StayReason;
  /** The tag or digest that keeps it. */
  readonly of: string;
}

/**
 * Those that stay, by digest. What an index that stays names stays, and so does what is about a manifest that stays, and so on: deleting a part
 * of an image would break it, and a signature without its image is of no use to the image that is there.
 */
export function chooseStays(candidates: readonly Candidate[]): ReadonlyMap<string, Stay> {
  const going = new Map(candidates.map((each) => [each.digest, each]));
  const stays = new Map<string, Stay>();
  const followers = new Map<string, Candidate[]>();
  for (const each of candidates) {
    for (const holder of [...each.parents, ...(each.subject === undefined ? [] : [each.subject])]) {
      const known = followers.get(holder);
      if (known === undefined) followers.set(holder, [each]);
      else known.push(each);
    }
  }
  const open: Candidate[] = [];
  const keep = (candidate: Candidate, stay: Stay): void => {
    if (stays.has(candidate.digest)) return;
    stays.set(candidate.digest, stay);
    open.push(candidate);
  };
  for (const each of candidates) {
    const parent = each.parents.find((digest) => !going.has(digest));
    if (each.otherTag !== undefined) keep(each, { because: "tagged", of: each.otherTag });
    else if (each.isCrowded) keep(each, { because: "too-many", of: each.digest });
    else if (parent !== undefined) keep(each, { because: "in-index", of: parent });
    else if (each.subject !== undefined && !going.has(each.subject)) keep(each, { because: "attached", of: each.subject });
  }
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { digest } = next;
    for (const follower of followers.get(digest) ?? []) {
      keep(follower, { because: follower.parents.includes(digest) ? "in-index" : "attached", of: digest });
    }
  }
  return stays;
}
