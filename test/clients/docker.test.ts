// dockerd and the docker client against Berth: pulls, builds, pushes, manifest lists and rights. No container is run.
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startDockerd } from "../tools/daemons.ts";
import { type ShapeName, writeImage } from "./images.ts";
import { type ClientTest, describeClient } from "./session.testing.ts";

/** The shapes that Debian's dockerd can unpack: it is older than zstd layers. */
const unpackable: readonly ShapeName[] = [
  "gzip",
  "uncompressed",
  "hundred-layers",
  "empty-layers",
  "index",
  "attested",
  "docker-manifest",
  "docker-list",
];

const pulls = unpackable.map((shape): ClientTest => ({
  name: `pulls ${shape} by tag and by digest, and pushes it into another repository by mounting`,
  async run({ berth, developer, newFolder }) {
    const image = await writeImage(newFolder(), shape, "docker");
    await berth.push(image, `vault/docker/${shape}`, "v1");
    const reference = `${berth.host}/vault/docker/${shape}`;
    const idOf = async (name: string) => (await developer(["image", "inspect", "--format", "{{.Id}}", name])).trim();
    await developer(["pull", "-q", `${reference}:v1`]);
    const id = await idOf(`${reference}:v1`);
    // The id of an image is its configuration's digest, which the registry holds.
    assert.ok(image.content.includes(id), `${id} is not of ${image.content.join(" ")}`);
    await developer(["pull", "-q", `${reference}@${image.root.digest}`]);
    assert.equal(await idOf(`${reference}@${image.root.digest}`), id);

    const copy = `${berth.host}/library/docker/${shape}:v2`;
    await developer(["tag", id, copy]);
    const before = { mounts: await berth.count("mount", 201), uploads: await berth.count("upload-finish", 201) };
    await developer(["push", "-q", copy]);
    const mounts = (await berth.count("mount", 201)) - before.mounts;
    const uploads = (await berth.count("upload-finish", 201)) - before.uploads;
    assert.ok(mounts > 0, "nothing was mounted");
    // dockerd always uploads the configuration, and compresses layers again if it did not see them compressed with gzip.
    assert.ok(uploads <= 1, `${uploads} uploads`);
    assert.ok((await berth.contentOf(`library/docker/${shape}`, "v2")).includes(id));
  },
}));

describeClient(
  {
    tool: "docker",
    alsoNeeds: ["dockerd"],
    login: (host, { name, password }) => ["login", "-u", name, "-p", password, host],
    daemon: async () => {
      const { host, stop } = await startDockerd();
      return { firstArguments: ["-H", host], stop };
    },
  },
  [
    ...pulls,
    {
      name: "builds an image, pushes it, and pulls it back after its removal",
      async run({ berth, developer, newFolder }) {
        const folder = newFolder();
        await mkdir(folder);
        await writeFile(join(folder, "Dockerfile"), "FROM scratch\nCOPY greeting /greeting\nLABEL made=here\n");
        await writeFile(join(folder, "greeting"), "hello\n".repeat(100_000));
        const reference = `${berth.host}/library/docker/built:v1`;
        await developer(["build", "-q", "-t", reference, folder]);
        const id = (await developer(["image", "inspect", "--format", "{{.Id}}", reference])).trim();
        assert.match(await developer(["push", reference]), /digest: sha256:/);
        assert.equal(
          (await berth.manifest("library/docker/built", "v1")).mediaType,
          "application/vnd.docker.distribution.manifest.v2+json",
        );
        assert.ok((await berth.contentOf("library/docker/built", "v1")).includes(id));
        await developer(["image", "rm", reference]);
        await developer(["pull", "-q", reference]);
        assert.equal((await developer(["image", "inspect", "--format", "{{.Id}}", reference])).trim(), id);
        // The second push sends nothing.
        const uploads = await berth.count("upload-finish", 201);
        await developer(["push", "-q", reference]);
        assert.equal(await berth.count("upload-finish", 201), uploads);
      },
    },
    {
      name: "pushes to names of one segment, one of them by mounting from the other, and pulls by both names",
      async run({ berth, developer, newFolder }) {
        await berth.push(await writeImage(newFolder(), "gzip", "docker one segment"), "vault/docker/long", "v1");
        await developer(["pull", "-q", `${berth.host}/vault/docker/long:v1`]);
        for (const name of ["docker-short", "docker-shorter"]) {
          const reference = `${berth.host}/${name}:17`;
          await developer(["tag", `${berth.host}/vault/docker/long:v1`, reference]);
          const mounts = await berth.count("mount", 201);
          await developer(["push", "-q", reference]);
          assert.ok((await berth.count("mount", 201)) > mounts, "nothing was mounted");
          await berth.contentOf(`library/${name}`, "17");
          const idOf = async (image: string) => (await developer(["image", "inspect", "--format", "{{.Id}}", image])).trim();
          const id = await idOf(reference);
          for (const each of [reference, `${berth.host}/library/${name}:17`]) {
            await developer(["pull", "-q", each]);
            assert.equal(await idOf(each), id);
          }
        }
      },
    },
    {
      name: "pushes all tags of a repository",
      async run({ berth, developer, newFolder }) {
        await berth.push(await writeImage(newFolder(), "gzip", "docker tags"), "library/docker/tags", "v1");
        const reference = `${berth.host}/library/docker/tags`;
        await developer(["pull", "-q", `${reference}:v1`]);
        for (const tag of ["v2", "v3"]) await developer(["tag", `${reference}:v1`, `${reference}:${tag}`]);
        await developer(["push", "-q", "--all-tags", reference]);
        const { tags } = (await (await berth.ask("library/docker/tags/tags/list")).json()) as { tags: string[] };
        assert.deepEqual(tags, ["v1", "v2", "v3"]);
        await developer(["pull", "-q", "--all-tags", reference]);
      },
    },
    {
      name: "makes and pushes a list of platforms",
      async run({ berth, developer, newFolder }) {
        const list = `${berth.host}/library/docker/list:v1`;
        const children = [];
        for (const seed of ["one", "two"]) {
          const image = await writeImage(newFolder(), "docker-manifest", seed);
          await berth.push(image, "library/docker/list", seed);
          children.push(`${berth.host}/library/docker/list@${image.root.digest}`);
        }
        await developer(["manifest", "create", "--insecure", list, ...children]);
        await developer(["manifest", "annotate", "--arch", "arm64", list, children[1] ?? ""]);
        const digest = (await developer(["manifest", "push", "--insecure", list])).trim();
        const served = await berth.manifest("library/docker/list", "v1");
        assert.equal(served.digest, digest);
        assert.equal(served.mediaType, "application/vnd.docker.distribution.manifest.list.v2+json");
        assert.match(await developer(["manifest", "inspect", "--insecure", list]), /"architecture": "arm64"/);
      },
    },
    {
      name: "pulls without an account what is public; refuses a guest's push, a stranger's login, and an anonymous pull of what is private",
      async run({ berth, anonymous, guest, homes, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "docker rights");
        for (const project of ["library", "vault"]) await berth.push(image, `${project}/docker/rights`, "v1");
        const hidden = `${berth.host}/vault/docker/rights:v1`;
        await anonymous(["pull", "-q", `${berth.host}/library/docker/rights:v1`]);
        await assert.rejects(anonymous(["pull", "-q", hidden]), /unauthorized|denied|no basic auth/i);
        await guest(["pull", "-q", hidden]);
        const mine = `${berth.host}/library/docker/rights:guest`;
        await guest(["tag", hidden, mine]);
        await assert.rejects(guest(["push", "-q", mine]), /denied|unauthorized/i);
        assert.equal((await berth.ask("library/docker/rights/manifests/guest")).status, 404);
        const login = [
          "--config",
          join(homes.anonymous.home, "stranger"),
          "login",
          "-u",
          "developer",
          "-p",
          "not-the-password",
          berth.host,
        ];
        await assert.rejects(anonymous(login), /unauthorized|401/i);
      },
    },
  ],
);
