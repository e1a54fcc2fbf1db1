// crane against Berth: what every layout client must do (layout-client.ts), and one layer of 2 GiB.
import assert from "node:assert/strict";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { writeHugeImage } from "./images.ts";
import { describeLayoutClient } from "./layout-client.ts";

const HUGE_BYTES = 2 * 1024 ** 3;

describeLayoutClient(
  {
    tool: "crane",
    cannotPull: { foreign: "crane fetches a foreign layer from its url, and refuses urls of this machine" },
    login: (host, { name, password }) => ["auth", "login", "--insecure", host, "-u", name, "-p", password],
    push: (_host, folder, reference) => ["push", "--insecure", folder, reference],
    pull: (_host, reference, folder) => ["pull", "--insecure", "--format=oci", reference, folder],
    listTags: (_host, repository) => ["ls", "--insecure", repository],
    copy: (_host, from, to) => ["copy", "--insecure", from, to],
    remove: (_host, reference) => ["delete", "--insecure", reference],
  },
  [
    {
      name: "carries a layer of 2 GiB",
      async run({ berth, developer, newFolder }) {
        const folder = newFolder();
        const image = await writeHugeImage(folder, HUGE_BYTES);
        const repository = "library/crane/huge";
        await developer(["push", "--insecure", folder, `${berth.host}/${repository}:v1`]);
        const layers = await Promise.all(
          image.content.map(async (digest) => (await stat(join(folder, "blobs", digest.replace(":", "/")))).size),
        );
        assert.ok(Math.max(...layers) > HUGE_BYTES);
        // The sparse source takes no room on disk, but the registry's copy does, until its data directory is removed.
        await rm(folder, { recursive: true });
        assert.deepEqual(await berth.contentOf(repository, "v1"), image.content);
      },
    },
  ],
);
