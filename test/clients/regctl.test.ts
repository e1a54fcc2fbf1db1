// regctl against Berth: what every layout client must do (layout-client.ts), deleting a tag alone, and listing repositories.
import assert from "node:assert/strict";
import { LAYOUT_TAG, writeImage } from "./images.ts";
import { pushLargeReferrers } from "./large-referrers.ts";
import { describeLayoutClient } from "./layout-client.ts";

const plain = (host: string) => ["--host", `reg=${host},tls=disabled`];

describeLayoutClient(
  {
    tool: "regctl",
    login: (host, { name, password }) => [...plain(host), "registry", "login", "-u", name, "-p", password, host],
    push: (host, folder, reference) => [...plain(host), "image", "copy", `ocidir://${folder}:${LAYOUT_TAG}`, reference],
    pull: (host, reference, folder) => [...plain(host), "image", "copy", reference, `ocidir://${folder}:${LAYOUT_TAG}`],
    listTags: (host, repository) => [...plain(host), "tag", "ls", repository],
    copy: (host, from, to) => [...plain(host), "image", "copy", from, to],
    remove: (host, reference) => [...plain(host), "manifest", "delete", reference],
  },
  [
    {
      name: "deletes one tag and leaves the image to the other",
      async run({ berth, developer, maintainer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "regctl tags");
        const repository = `${berth.host}/library/regctl/two-tags`;
        for (const tag of ["keep", "drop"]) {
          await developer([...plain(berth.host), "image", "copy", `ocidir://${image.folder}:${LAYOUT_TAG}`, `${repository}:${tag}`]);
        }
        await maintainer([...plain(berth.host), "tag", "delete", `${repository}:drop`]);
        assert.equal((await maintainer([...plain(berth.host), "tag", "ls", repository])).trim(), "keep");
        assert.equal((await berth.manifest("library/regctl/two-tags", "keep")).digest, image.root.digest);
      },
    },
    {
      name: "lists the repositories that the user may pull from",
      async run({ berth, developer, anonymous, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "regctl catalog");
        for (const project of ["library", "vault"]) {
          const reference = `${berth.host}/${project}/regctl/catalog:v1`;
          await developer([...plain(berth.host), "image", "copy", `ocidir://${image.folder}:${LAYOUT_TAG}`, reference]);
        }
        const listed = (await developer([...plain(berth.host), "repo", "ls", berth.host])).split("\n");
        assert.ok(listed.includes("library/regctl/catalog") && listed.includes("vault/regctl/catalog"), listed.join(" "));
        const open = (await anonymous([...plain(berth.host), "repo", "ls", berth.host])).split("\n");
        assert.ok(open.includes("library/regctl/catalog") && !open.some((each) => each.startsWith("vault/")), open.join(" "));
      },
    },
    {
      name: "follows the pages of referrers, which end by bytes",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "regctl pages");
        const reference = `${berth.host}/library/regctl/pages:v1`;
        await developer([...plain(berth.host), "image", "copy", `ocidir://${image.folder}:${LAYOUT_TAG}`, reference]);
        const sizes = [1_300_000, 10, 1_300_000, 1_300_000, 1_300_000, 10, 1_300_000];
        const pushed = await pushLargeReferrers(berth, "library/regctl/pages", image, sizes);
        const first = await berth.ask(`library/regctl/pages/referrers/${image.root.digest}`);
        assert.match(first.headers.get("link") ?? "", /rel="next"/);
        const format = '{{range .Descriptors}}{{println .Digest (len (index .Annotations "note"))}}{{end}}';
        const found = (await developer([...plain(berth.host), "artifact", "list", "--format", format, reference])).trim().split(/\s+/);
        assert.deepEqual(
          found,
          pushed.flatMap((digest, i) => [digest, String(sizes[i])]),
        );
      },
    },
    {
      name: "copies an image with its referrers",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "index", "regctl referrers");
        const [from, to] = [`${berth.host}/library/regctl/subject:v1`, `${berth.host}/vault/regctl/subject:v1`];
        await developer([...plain(berth.host), "image", "copy", `ocidir://${image.folder}:${LAYOUT_TAG}`, from]);
        const type = "application/vnd.example.note";
        await developer([
          ...plain(berth.host),
          "artifact",
          "put",
          "--subject",
          from,
          "--artifact-type",
          type,
          "--file",
          `${image.folder}/oci-layout`,
        ]);
        await developer([...plain(berth.host), "image", "copy", "--referrers", from, to]);
        const list = async (reference: string) => {
          const format = "{{range .Descriptors}}{{.Digest}} {{.ArtifactType}}{{end}}";
          return (await developer([...plain(berth.host), "artifact", "list", "--format", format, reference])).trim();
        };
        assert.match(await list(from), /^sha256:\w{64} application\/vnd\.example\.note$/);
        assert.equal(await list(to), await list(from));
      },
    },
  ],
);
