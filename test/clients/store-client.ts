// The common tests of buildah and podman: they keep images unpacked in a store of their own and pack them again for a push. An image is
// therefore the same if its configuration is, which names the digests of the unpacked layers. Not here: running containers.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ShapeName, writeImage } from "./images.ts";
import { type ClientTest, describeClient } from "./session.testing.ts";

const plain = "--tls-verify=false";

/** Shapes that can be unpacked on a machine of one platform, without fetching from elsewhere. */
const unpackable: readonly ShapeName[] = [
  "gzip",
  "zstd",
  "uncompressed",
  "hundred-layers",
  "empty-layers",
  "no-layers",
  "index",
  "attested",
  "docker-manifest",
  "docker-list",
];

/** Declares the tests of buildah or podman, which share their verbs; `firstArguments` point at a store in the home. */
export function describeStoreClient(
  tool: "buildah" | "podman",
  firstArguments: (home: string) => readonly string[],
  ownTests: readonly ClientTest[],
): void {
  const login = (host: string, user: { name: string; password: string }) => ["login", plain, "-u", user.name, "-p", user.password, host];
  describeClient({ tool, login, firstArguments }, [...pulls(tool), ...pushes(tool), ...ownTests]);
}

function pulls(tool: string): ClientTest[] {
  return unpackable.map((shape) => ({
    name: `pulls ${shape} by tag and by digest, and pushes it into another repository`,
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), shape, tool);
      await berth.push(image, `library/${tool}/${shape}`, "v1");
      const reference = `${berth.host}/library/${tool}/${shape}`;
      const id = (await developer(["pull", "-q", plain, `${reference}:v1`])).trim();
      // The id of an image is its configuration's digest, which the registry holds.
      assert.ok(image.content.includes(`sha256:${id}`), `${id} is not of ${image.content.join(" ")}`);
      assert.equal((await developer(["pull", "-q", plain, `${reference}@${image.root.digest}`])).trim(), id);
      await developer(["push", "-q", plain, id, `docker://${berth.host}/vault/${tool}/${shape}:v2`]);
      const content = await berth.contentOf(`vault/${tool}/${shape}`, "v2");
      assert.ok(content.includes(`sha256:${id}`), `${id} is not of ${content.join(" ")}`);
      assert.equal((await developer(["pull", "-q", plain, `${berth.host}/vault/${tool}/${shape}:v2`])).trim(), id);
    },
  }));
}

function pushes(tool: string): ClientTest[] {
  return [
    {
      name: "pushes as OCI and as Docker schema 2",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", `${tool} formats`);
        await berth.push(image, `library/${tool}/formats`, "v1");
        const id = (await developer(["pull", "-q", plain, `${berth.host}/library/${tool}/formats:v1`])).trim();
        for (const [format, mediaType] of [
          ["oci", "application/vnd.oci.image.manifest.v1+json"],
          ["v2s2", "application/vnd.docker.distribution.manifest.v2+json"],
        ] as const) {
          await developer(["push", "-q", "--format", format, plain, id, `docker://${berth.host}/library/${tool}/formats:${format}`]);
          assert.equal((await berth.manifest(`library/${tool}/formats`, format)).mediaType, mediaType);
          await berth.contentOf(`library/${tool}/formats`, format);
        }
      },
    },
    {
      name: "pushes to a name of one segment and pulls from it",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", `${tool} one segment`);
        await berth.push(image, `library/${tool}/long`, "v1");
        const id = (await developer(["pull", "-q", plain, `${berth.host}/library/${tool}/long:v1`])).trim();
        await developer(["push", "-q", plain, id, `docker://${berth.host}/${tool}-short:v1`]);
        assert.ok((await berth.contentOf(`library/${tool}-short`, "v1")).includes(`sha256:${id}`));
        assert.equal((await developer(["pull", "-q", plain, `${berth.host}/${tool}-short:v1`])).trim(), id);
      },
    },
    {
      name: "pushes a list of platforms",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "index", `${tool} list`);
        await berth.push(image, `library/${tool}/platforms`, "v1");
        await developer(["manifest", "create", "listed"]);
        const source = `docker://${berth.host}/library/${tool}/platforms:v1`;
        await developer(["manifest", "add", plain, "--all", "listed", source]);
        const target = `docker://${berth.host}/library/${tool}/listed:v1`;
        await developer(["manifest", "push", "-q", plain, "--all", "--format", "oci", "listed", target]);
        const { bytes } = await berth.manifest(`library/${tool}/listed`, "v1");
        const { manifests } = JSON.parse(bytes.toString()) as { manifests: { digest: string; platform: { architecture: string } }[] };
        assert.deepEqual(manifests.map((each) => each.platform.architecture).toSorted(), ["amd64", "arm64", "s390x"]);
        // Whatever the list itself looks like, it names the same images.
        const content = await berth.contentOf(`library/${tool}/listed`, "v1");
        const missing = image.content.filter((digest) => digest !== image.root.digest && !content.includes(digest));
        assert.deepEqual(missing, []);
      },
    },
    {
      name: "pulls without an account what is public; refuses a guest's push, a stranger's login, and an anonymous pull of what is private",
      async run({ berth, binary, anonymous, guest, homes, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", `${tool} rights`);
        for (const project of ["library", "vault"]) await berth.push(image, `${project}/${tool}/rights`, "v1");
        const id = (await anonymous(["pull", "-q", plain, `${berth.host}/library/${tool}/rights:v1`])).trim();
        assert.ok(image.content.includes(`sha256:${id}`));
        await assert.rejects(
          anonymous(["pull", "-q", plain, `${berth.host}/vault/${tool}/rights:v1`]),
          /unauthorized|authentication|denied/i,
        );
        assert.equal((await guest(["pull", "-q", plain, `${berth.host}/vault/${tool}/rights:v1`])).trim(), id);
        const push = ["push", "-q", plain, id, `docker://${berth.host}/library/${tool}/rights:guest`];
        await assert.rejects(guest(push), /denied|unauthorized|403|forbidden/i);
        assert.equal((await berth.ask(`library/${tool}/rights/manifests/guest`)).status, 404);
        const stranger = join(homes.anonymous.home, "stranger.json");
        const login = ["login", plain, "--authfile", stranger, "-u", "developer", "-p", "not-the-password", berth.host];
        assert.match(await homes.anonymous.fail(binary, ...login), /unauthorized|invalid username|authentication/i);
      },
    },
  ];
}

/** Writes a file of that text and gives its path. */
export async function writeText(folder: string, name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}
