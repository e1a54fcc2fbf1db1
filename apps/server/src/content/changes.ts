// What can happen to content, in the words of those who react to it. Not here: how it is recorded (access/changes.ts, events/outbox.ts).
import type { Digest } from "@berth/oci/digest";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import type { GrantedRepository } from "./repositories.ts";

interface InRepository {
  readonly repository: RepositoryName;
  readonly repositoryId: number;
  readonly projectId: number;
}

/** One change of content. */
export type ContentChange =
  /** Also where the same manifest was there. */
  | (InRepository & { readonly kind: "manifest.pushed"; readonly digest: Digest; readonly mediaType: string })
  /** After its tags, each of which is said to be deleted. */
  | (InRepository & { readonly kind: "manifest.deleted"; readonly digest: Digest })
  /** `from`: what it named before; undefined where the tag is new. */
  | (InRepository & { readonly kind: "tag.moved"; readonly tag: Tag; readonly from: Digest | undefined; readonly to: Digest })
  /** Alone, where what it named stays; or with its manifest. */
  | (InRepository & { readonly kind: "tag.deleted"; readonly tag: Tag })
  | (InRepository & { readonly kind: "repository.created" })
  | (InRepository & { readonly kind: "repository.deleted" });

/** Where a change is, by the grant for it. */
export function placeOf({ grant, id }: GrantedRepository): InRepository {
  return { repository: grant.repository, repositoryId: id, projectId: grant.projectId };
}
