// That a grant comes with its own repository and with no other: what must not compile, and what stands behind the types.
// Not here: whether a grant still holds when it is used (distribution/aged-grants.test.ts).
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

/** What a misuse would be written with. */
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

/** Never called: each line is a mistake that the compiler refuses, and it complains here once it refuses one no longer. */
export function mistakes({ repositories, manifests, tags, blobs, uploads, pull, push, remove, put, commit, digest, tag }: Parts): void {
  // @ts-expect-error: no id beside the proof, of this repository or of another.
  void manifests.put(push, 7, put);
  // @ts-expect-error: no grant that has not been taken to its repository.
  void manifests.put(push.grant, put);
  // @ts-expect-error: a grant to pull is none to push.
  void manifests.put(pull, put);
  // @ts-expect-error: a grant to push is none to delete.
  void manifests.delete(push, digest);
  // @ts-expect-error: the same of tags.
  void tags.delete(pull, tag);
  // @ts-expect-error: the same of blobs.
  void blobs.commit(pull, commit);
  // @ts-expect-error: the same of blobs.
  void blobs.delete(push, digest);
  // @ts-expect-error: what is mounted from is read, by a grant to pull.
  void blobs.mount(push, push, digest);
  // @ts-expect-error: what is mounted to is written, by a grant to push.
  void blobs.mount(pull, pull, digest);
  // @ts-expect-error: a session is begun by who may push.
  void uploads.begin(pull, { algorithm: "sha256", record: () => ({}) });
  // @ts-expect-error: a repository is made by who may push.
  void repositories.ensure(pull.grant);
  // @ts-expect-error: a repository is deleted by who may delete.
  void repositories.delete(push.grant);
  // @ts-expect-error: the id of another repository cannot be put beside a grant.
  void tags.list({ grant: pull.grant, id: remove.id }, "", 1);
  // @ts-expect-error: nor can what was found be written over.
  pull.id = remove.id;
  // @ts-expect-error: nor can a grant be made up.
  const forged: Grant<"push"> = { action: "push", repository: "a/b" as RepositoryName, projectId: 1, actor: push.grant.actor, renew };
  // @ts-expect-error: nor can one be turned to another repository: what comes of it is no grant.
  const turned: Grant<"push"> = { ...copyOf(push.grant), repository: "a/b" as RepositoryName };
  void [forged, turned];
}

declare function renew(): Grant<"push">;
/** All that can be read of a grant. */
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
