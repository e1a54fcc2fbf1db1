// skopeo against Berth: what every layout client must do (layout-client.ts), and Docker schema 2, into which skopeo converts.
import assert from "node:assert/strict";
import { LAYOUT_TAG, writeImage } from "./images.ts";
import { describeLayoutClient } from "./layout-client.ts";

const unchanged = ["--all", "--preserve-digests"];
const onlyOci = "skopeo finds only OCI media types in a layout";

describeLayoutClient(
  {
    tool: "skopeo",
    cannotPush: {
      "docker-manifest": onlyOci,
      "docker-list": onlyOci,
      "nested-index": "skopeo copies no index within an index",
    },
    login: (host, { name, password }) => ["login", "--tls-verify=false", "-u", name, "-p", password, host],
    push: (_host, folder, reference) => [
      "copy",
      ...unchanged,
      "--dest-tls-verify=false",
      `oci:${folder}:${LAYOUT_TAG}`,
      `docker://${reference}`,
    ],
    pull: (_host, reference, folder) => [
      "copy",
      ...unchanged,
      "--src-tls-verify=false",
      `docker://${reference}`,
      `oci:${folder}:${LAYOUT_TAG}`,
    ],
    listTags: (_host, repository) => ["list-tags", "--tls-verify=false", `docker://${repository}`],
    copy: (_host, from, to) => [
      "copy",
      ...unchanged,
      "--src-tls-verify=false",
      "--dest-tls-verify=false",
      `docker://${from}`,
      `docker://${to}`,
    ],
    remove: (_host, reference) => ["delete", "--tls-verify=false", `docker://${reference}`],
  },
  [
    {
      name: "pushes Docker schema 2, manifest and list, and pulls it back",
      async run({ berth, developer, newFolder }) {
        for (const [shape, mediaType] of [
          ["uncompressed", "application/vnd.docker.distribution.manifest.v2+json"],
          ["index", "application/vnd.docker.distribution.manifest.list.v2+json"],
        ] as const) {
          const image = await writeImage(newFolder(), shape, "schema 2");
          const repository = `library/skopeo/schema2-${shape}`;
          const reference = `docker://${berth.host}/${repository}:v1`;
          await developer(["copy", "--all", "--format", "v2s2", "--dest-tls-verify=false", `oci:${image.folder}:${LAYOUT_TAG}`, reference]);
          const served = await berth.manifest(repository, "v1");
          assert.equal(served.mediaType, mediaType);
          const content = await berth.contentOf(repository, "v1");
          const raw = await developer(["inspect", "--raw", "--tls-verify=false", reference]);
          assert.equal(raw, served.bytes.toString());
          await developer(["copy", ...unchanged, "--src-tls-verify=false", reference, `dir:${newFolder()}`]);
          assert.ok(content.length >= 4, content.join(" "));
        }
      },
    },
    {
      name: "inspects a tag with its configuration",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "inspect");
        const reference = `docker://${berth.host}/library/skopeo/inspect:v1`;
        await developer(["copy", ...unchanged, "--dest-tls-verify=false", `oci:${image.folder}:${LAYOUT_TAG}`, reference]);
        const seen = JSON.parse(await developer(["inspect", "--tls-verify=false", reference])) as Record<string, unknown>;
        assert.deepEqual([seen["Digest"], seen["Architecture"], seen["RepoTags"]], [image.root.digest, "amd64", ["v1"]]);
      },
    },
  ],
);
