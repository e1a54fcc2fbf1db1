// A grant comes with its own repository and with no other: misuses that must not compile, and the checks behind the types. Not here:
// whether a grant still holds when it is used (distribution/aged-grants.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import type { Digest } from "@berth/oci/digest";
import type { RepositoryName, Tag } from "@berth/oci/reference";
import { createTestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import type { BlobCommit, Blobs } from "./blobs.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { createContent, createGrants } from "./content.testing.ts";
import type { Manifests, ManifestPut } from "./manifests.ts";
import type { GrantedRepository, Repositories } from "./repositories.ts";
import type { Tags } from "./tags.ts";
import type { Uploads } from "./uploads.ts";

/** The parts with which a misuse would be written. */
interface Parts {
  readonly repositories: Repositories;
  readonly manifests: Manifests;
  readonly tags: Tags;
  readonly blobs: Blobs;
  readonly uploads: Uploads;
  readonly pull: GrantedRepository<"pull">;
  readonly push: GrantedRepository<"push">;
  readonly remove: GrantedRepository<"delete">;
  readonly put: ManifestPut;
  readonly commit: BlobCommit;
  readonly digest: Digest;
  readonly tag: Tag;
}

/** Never called: each line is a misuse that the compiler refuses, and `ts-expect-error` fails if it no longer does. */
export function mistakes({ repositories, manifests, tags, blobs, uploads, pull, push, remove, put, commit, digest, tag }: Parts): void {
  // @ts-expect-error: no id beside the grant, of this repository or of another.
  void manifests.put(push, 7, put);
  // @ts-expect-error: no grant without its repository.
  void manifests.put(push.grant, put);
  // @ts-expect-error: a grant to pull is not one to push.
  void manifests.put(pull, put);
  // @ts-expect-error: a grant to push is not one to delete.
  void manifests.delete(push, digest);
  // @ts-expect-error: the same for tags.
  void tags.delete(pull, tag);
  // @ts-expect-error: the same for blobs.
  void blobs.commit(pull, commit);
  // @ts-expect-error: the same for blobs.
  void blobs.delete(push, digest);
  // @ts-expect-error: the source of a mount is read, by a grant to pull.
  void blobs.mount(push, push, digest);
  // @ts-expect-error: the target of a mount is written, by a grant to push.
  void blobs.mount(pull, pull, digest);
  // @ts-expect-error: beginning a session needs a grant to push.
  void uploads.begin(pull, { algorithm: "sha256", record: () => ({}) });
  // @ts-expect-error: creating a repository needs a grant to push.
  void repositories.ensure(pull.grant);
  // @ts-expect-error: deleting a repository needs a grant to delete.
  void repositories.delete(push.grant);
  // @ts-expect-error: the id of another repository cannot be joined with a grant.
  void tags.list({ grant: pull.grant, id: remove.id }, "", 1);
  // @ts-expect-error: the id cannot be overwritten either.
  pull.id = remove.id;
  // @ts-expect-error: a grant cannot be forged.
  const forged: Grant<"push"> = { action: "push", repository: "a/b" as RepositoryName, projectId: 1, actor: push.grant.actor, renew };
  // @ts-expect-error: a copied grant cannot be changed to another repository: the result is no grant.
  const turned: Grant<"push"> = { ...copyOf(push.grant), repository: "a/b" as RepositoryName };
  void [forged, turned];
}

declare function renew(): Grant<"push">;
/** Everything that can be read of a grant. */
declare function copyOf(grant: Grant<"push">): { [K in Exclude<keyof Grant<"push">, symbol>]: Grant<"push">[K] };

forEachDatabase("granted repositories", (create) => {
  let test: TestDatabase;
  before(async () => {
    test = await create();
  });
  after(() => test.end());

  it("are each grant's own, from the database and from memory", async () => {
    const content = createContent(test.database, createMemoryStore({ processId: "p1", memory: createMemoryBlobs() }), createTestClock());
    const grantFor = await createGrants(test.database);
    const names = ["test/one", "test/two"];
    const made = await Promise.all(names.map((name) => content.repositories.ensure(grantFor("push", name))));
    assert.notEqual(made[0]!.id, made[1]!.id);
    for (const [i, name] of names.entries()) {
      const grant = grantFor("pull", name);
      for (const found of [await content.repositories.find(grant), await content.repositories.recall(grant)]) {
        assert.equal(found?.grant, grant);
        assert.equal(found?.id, made[i]!.id);
      }
    }
    assert.equal(await content.repositories.find(grantFor("pull", "test/none")), undefined);
    assert.equal(await content.repositories.recall(grantFor("pull", "test/none")), undefined);
  });
});
