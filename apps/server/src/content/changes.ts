// The changes of content, in the terms of the parts that react to them. Not here: recording them (access/changes.ts, events/outbox.ts).
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
  /** Also if the same manifest existed. */
  | (InRepository & { readonly kind: "manifest.pushed"; readonly digest: Digest; readonly mediaType: string })
  /** It comes after its tags, each of which is reported as deleted. */
  | (InRepository & { readonly kind: "manifest.deleted"; readonly digest: Digest })
  /** `from`: what it named before; undefined if the tag is new. */
  | (InRepository & { readonly kind: "tag.moved"; readonly tag: Tag; readonly from: Digest | undefined; readonly to: Digest })
  /** The tag alone, while its manifest stays; or with its manifest. */
  | (InRepository & { readonly kind: "tag.deleted"; readonly tag: Tag })
  | (InRepository & { readonly kind: "repository.created" })
  | (InRepository & { readonly kind: "repository.deleted" });

/** The place of a change, from the grant for it. */
export function placeOf({ grant, id }: GrantedRepository): InRepository {
  return { repository: grant.repository, repositoryId: id, projectId: grant.projectId };
}
