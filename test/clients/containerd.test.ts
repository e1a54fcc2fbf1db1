// containerd 1.6 and 2 against Berth: ctr, and PullImage of the CRI as a kubelet calls it. containerd keeps content unchanged, so it can be
// compared digest by digest. No container is run.
import assert from "node:assert/strict";
import { startContainerd } from "../tools/daemons.ts";
import { ensureTool } from "../tools/install.ts";
import type { Berth, User } from "./berth.ts";
import { type ShapeName, SHAPE_NAMES, writeImage } from "./images.ts";
import { type ClientTest, describeClient } from "./session.testing.ts";

/**
 * Shapes with an image for this machine, whose layers are all available. The index within an index is excluded: CRI measures the pulled
 * image, and looks for the inner index's other platforms, which it did not pull.
 */
const unpackable: readonly ShapeName[] = [
  "gzip",
  "zstd",
  "uncompressed",
  "hundred-layers",
  "empty-layers",
  "index",
  "attested",
  "docker-manifest",
  "docker-list",
];

/** containerd fetches foreign layers from their urls, which lead nowhere here. */
const fetchable = SHAPE_NAMES.filter((shape) => shape !== "foreign");

const plain = "--plain-http";
const as = ({ name, password }: User) => ["--user", `${name}:${password}`];

for (const release of [1, 2] as const) {
  const name = `containerd${release}` as const;
  describeClient(
    {
      tool: `ctr${release}`,
      alsoNeeds: [name, "crictl"],
      // ctr asks this itself; `native` is the snapshotter of the tests' containerd.
      environment: () => ({ CONTAINERD_SNAPSHOTTER: "native" }),
      daemon: async () => {
        const { socket, stop } = await startContainerd(release);
        return { firstArguments: ["-a", socket, "-n", "berth-test"], stop };
      },
    },
    [
      ...fetchable.map((shape) => carries(name, shape)),
      ...unpackable.map((shape) => unpacks(name, shape)),
      rights(name),
      crossPush(name),
      oneSegment(name),
      foreignSource(name),
    ],
  );
}

function carries(name: string, shape: ShapeName): ClientTest {
  return {
    name: `fetches ${shape} whole by tag and by digest, and pushes it unchanged`,
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), shape, `${name} carries`);
      await berth.push(image, `vault/${name}/${shape}`, "v1");
      const user = as(berth.users.developer);
      for (const reference of [`${berth.host}/vault/${name}/${shape}:v1`, `${berth.host}/vault/${name}/${shape}@${image.root.digest}`]) {
        await developer(["content", "fetch", plain, "--all-platforms", ...user, reference]);
        const held = (await developer(["content", "ls", "-q"])).split("\n");
        assert.deepEqual(
          image.content.filter((digest) => !held.includes(digest)),
          [],
          "not fetched",
        );
        const target = `library/${name}/${shape}`;
        await developer(["images", "push", plain, ...user, `${berth.host}/${target}:v2`, reference]);
        assert.deepEqual(await berth.contentOf(target, "v2"), image.content);
      }
    },
  };
}

function unpacks(name: string, shape: ShapeName): ClientTest {
  return {
    name: `pulls ${shape} and unpacks it, by ctr and by CRI`,
    async run({ berth, developer, homes, newFolder, daemon }) {
      const image = await writeImage(newFolder(), shape, `${name} unpacks`);
      await berth.push(image, `vault/${name}/unpacked/${shape}`, "v1");
      const repository = `${berth.host}/vault/${name}/unpacked/${shape}`;
      const { developer: user } = berth.users;
      // The snapshotter copies all lower layers for every layer: for a hundred layers once is enough.
      if (shape !== "hundred-layers") {
        await developer(["images", "pull", plain, ...as(user), `${repository}:v1`]);
        const listed = await developer(["images", "ls", `name==${repository}:v1`]);
        assert.match(listed, new RegExp(image.root.digest));
      }

      const socket = `unix://${daemon?.firstArguments[1] ?? ""}`;
      const crictl = async (...args: string[]) =>
        homes.developer.run(await ensureTool("crictl"), "--runtime-endpoint", socket, "--image-endpoint", socket, ...args);
      for (const reference of [`${repository}:v1`, `${repository}@${image.root.digest}`]) {
        await crictl("pull", "--creds", `${user.name}:${user.password}`, reference);
        const { status } = JSON.parse(await crictl("inspecti", "-o", "json", reference)) as {
          status: { id: string; repoDigests: string[] };
        };
        assert.deepEqual(status.repoDigests, [`${repository}@${image.root.digest}`]);
        assert.ok(image.content.includes(status.id), `${status.id} is not of ${image.content.join(" ")}`);
      }
    },
  };
}

function rights(name: string): ClientTest {
  return {
    name: "pulls without an account what is public; refuses a guest's push, a wrong password, and an anonymous pull of what is private",
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), "gzip", `${name} rights`);
      for (const project of ["library", "vault"]) await berth.push(image, `${project}/${name}/rights`, "v1");
      const [open, hidden] = [`${berth.host}/library/${name}/rights:v1`, `${berth.host}/vault/${name}/rights:v1`];
      await developer(["images", "pull", plain, open]);
      await assert.rejects(developer(["images", "pull", plain, hidden]), /authorization failed|unauthorized|denied|401/i);
      const wrong = as({ name: "developer", password: "not-the-password" });
      await assert.rejects(developer(["images", "pull", plain, ...wrong, hidden]), /unauthorized|401/i);
      await developer(["images", "pull", plain, ...as(berth.users.guest), hidden]);
      const push = ["images", "push", plain, ...as(berth.users.guest), `${berth.host}/library/${name}/rights:guest`, open];
      // If the answer arrives before containerd has sent the body, containerd only reports its own write error; the checks below count.
      await assert.rejects(developer(push), /denied|forbidden|authorization|unauthorized|403|401|closed pipe/i);
      assert.equal((await berth.ask(`library/${name}/rights/manifests/guest`)).status, 404);
    },
  };
}

function crossPush(name: string): ClientTest {
  return {
    name: "pushes into another repository by mounting",
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), "gzip", `${name} mount`);
      await berth.push(image, `library/${name}/mount-source`, "v1");
      const source = `${berth.host}/library/${name}/mount-source:v1`;
      const user = as(berth.users.developer);
      await developer(["images", "pull", plain, ...user, source]);
      const before = await countsOf(berth);
      await developer(["images", "push", plain, ...user, `${berth.host}/library/${name}/mount-target:v1`, source]);
      const after = await countsOf(berth);
      assert.deepEqual(await berth.contentOf(`library/${name}/mount-target`, "v1"), image.content);
      // Two layers are mounted; the configuration may be uploaded.
      assert.ok(after.mounts - before.mounts >= 2, `${after.mounts - before.mounts} mounts`);
      assert.ok(after.uploads - before.uploads <= 1, `${after.uploads - before.uploads} uploads`);
    },
  };
}

function oneSegment(name: string): ClientTest {
  return {
    name: "pushes to a name of one segment and fetches from it",
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), "gzip", `${name} one segment`);
      await berth.push(image, `library/${name}/long`, "v1");
      const [source, target] = [`${berth.host}/library/${name}/long:v1`, `${berth.host}/${name}-short:v1`];
      const user = as(berth.users.developer);
      await developer(["images", "pull", plain, ...user, source]);
      const before = await countsOf(berth);
      await developer(["images", "push", plain, ...user, target, source]);
      assert.ok((await countsOf(berth)).mounts > before.mounts, "nothing was mounted");
      assert.deepEqual(await berth.contentOf(`library/${name}-short`, "v1"), image.content);
      // The content already exists here, so that only the name is new; from there it is mounted once more.
      await developer(["images", "pull", plain, ...user, target]);
      await developer(["images", "push", plain, ...user, `${berth.host}/${name}-shorter:v1`, target]);
      assert.deepEqual(await berth.contentOf(`library/${name}-shorter`, "v1"), image.content);
    },
  };
}

/** containerd offers to mount from the names under which it pulled content, also if those belong to another registry, or cannot exist here. */
function foreignSource(name: string): ClientTest {
  return {
    name: "pushes content that it knows from a name that cannot be here",
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), "gzip", `${name} foreign source`);
      await berth.push(image, `library/${name}/origin`, "v1");
      const source = `${berth.host}/library/${name}/origin:v1`;
      const user = as(berth.users.developer);
      await developer(["images", "pull", plain, ...user, source]);
      // As after a pull through another host: the label holds the source's name there.
      const label = `containerd.io/distribution.source.${berth.host.replace(/:.*/, "")}=Team_/Not.A.Name!`;
      for (const digest of image.content) await developer(["content", "label", digest, label]);
      const before = await countsOf(berth);
      await developer(["images", "push", plain, ...user, `${berth.host}/library/${name}/foreign-target:v1`, source]);
      // The mount was offered, not possible, and the blob was uploaded.
      const after = await countsOf(berth);
      assert.deepEqual([after.mounts - before.mounts, after.uploads - before.uploads], [0, 3]);
      assert.deepEqual(await berth.contentOf(`library/${name}/foreign-target`, "v1"), image.content);
    },
  };
}

async function countsOf(berth: Berth): Promise<{ mounts: number; uploads: number }> {
  return { mounts: await berth.count("mount", 201), uploads: await berth.count("upload-finish", 201) };
}
