// The common tests of every client that moves OCI layouts. Not here: the clients' arguments (their own tests), and clients that keep images
// in a store of their own (buildah, podman, dockerd, containerd).
import assert from "node:assert/strict";
import type { ToolName } from "../tools/install.ts";
import type { User } from "./berth.ts";
import { commandsInNewHome } from "./command.ts";
import { readLayout, type ShapeName, SHAPE_NAMES, writeImage } from "./images.ts";
import { type ClientTest, describeClient } from "./session.testing.ts";

/** A client's verbs as arguments. A `reference` is `HOST/REPOSITORY:TAG` or `HOST/REPOSITORY@DIGEST`; a folder is an OCI layout's. */
export interface LayoutClient {
  readonly tool: ToolName;
  /** Shapes that the client itself cannot push, and why. */
  readonly cannotPush?: Readonly<Partial<Record<ShapeName, string>>>;
  /** Shapes that the client itself cannot pull whole, and why. */
  readonly cannotPull?: Readonly<Partial<Record<ShapeName, string>>>;
  login(host: string, user: User): readonly string[];
  /** Pushes a layout's image unchanged, with all platforms. */
  push(host: string, folder: string, reference: string): readonly string[];
  /** Pulls into a new folder, unchanged, with all platforms. */
  pull(host: string, reference: string, folder: string): readonly string[];
  /** Lists tags; the output has one on each line, or each in quotes. */
  listTags(host: string, repository: string): readonly string[];
  /** Copies unchanged, with all platforms, from one repository of the registry to another. */
  copy(host: string, from: string, to: string): readonly string[];
  /** Deletes what a digest names. */
  remove(host: string, reference: string): readonly string[];
}

/** Declares the tests of one client: the common ones, then its own. */
export function describeLayoutClient(client: LayoutClient, ownTests: readonly ClientTest[] = []): void {
  describeClient(client, [...commonTests(client), ...ownTests]);
}

function commonTests(client: LayoutClient): ClientTest[] {
  const tests: ClientTest[] = [];
  const test = (name: string, run: ClientTest["run"]) => tests.push({ name, run });

  for (const shape of SHAPE_NAMES.filter((each) => client.cannotPush?.[each] === undefined)) {
    test(`carries ${shape} there and back unchanged`, async (run) => {
      const { berth, developer } = run;
      const image = await writeImage(run.newFolder(), shape, client.tool);
      const repository = `${berth.host}/library/${client.tool}/${shape}`;
      await developer(client.push(berth.host, image.folder, `${repository}:one`));
      assert.deepEqual(await berth.contentOf(`library/${client.tool}/${shape}`, "one"), image.content);
      if (client.cannotPull?.[shape] !== undefined) return;
      for (const reference of [`${repository}:one`, `${repository}@${image.root.digest}`]) {
        const folder = run.newFolder();
        await developer(client.pull(berth.host, reference, folder));
        const back = await readLayout(folder);
        assert.equal(back.root.digest, image.root.digest);
        assert.deepEqual(back.content, image.content);
      }
    });
  }

  test("refuses a wrong password", async (run) => {
    const { berth, binary } = run;
    const image = await writeImage(run.newFolder(), "gzip", `${client.tool} stranger`);
    const stranger = await commandsInNewHome(client.tool);
    // Not every client verifies a password at login.
    const attempt = async () => {
      await stranger.run(binary, ...client.login(berth.host, { name: "developer", password: "not-the-password" }));
      await stranger.run(binary, ...client.push(berth.host, image.folder, `${berth.host}/library/${client.tool}/stranger:v1`));
    };
    await assert.rejects(attempt(), /unauthorized|401|authentication|invalid username/i);
    await stranger.end();
  });

  test("lists tags", async (run) => {
    const { berth, developer } = run;
    const repository = `${berth.host}/library/${client.tool}/tags`;
    for (const tag of ["v1", "v2", "latest"]) {
      await developer(client.push(berth.host, (await writeImage(run.newFolder(), "gzip", tag)).folder, `${repository}:${tag}`));
    }
    const output = await developer(client.listTags(berth.host, repository));
    const words = output.split(/[^\w.]+/).filter((word) => ["v1", "v2", "latest"].includes(word));
    assert.deepEqual(words, ["latest", "v1", "v2"]);
  });

  test("copies between repositories by mounting, and uploads no layer again", async (run) => {
    const { berth, developer } = run;
    const image = await writeImage(run.newFolder(), "index", `${client.tool} copy`);
    const source = `vault/${client.tool}/source`;
    await developer(client.push(berth.host, image.folder, `${berth.host}/${source}:v1`));
    const before = { mounts: await berth.count("mount", 201), uploads: await berth.count("upload-finish", 201) };
    const target = `library/${client.tool}/target`;
    await developer(client.copy(berth.host, `${berth.host}/${source}:v1`, `${berth.host}/${target}:v2`));
    assert.deepEqual(await berth.contentOf(target, "v2"), image.content);
    const mounts = (await berth.count("mount", 201)) - before.mounts;
    const uploads = (await berth.count("upload-finish", 201)) - before.uploads;
    // Three images share one layer: four layers and three configs, which skopeo never mounts.
    assert.ok(mounts >= 4 && mounts + uploads === 7, `${mounts} blobs were mounted and ${uploads} uploaded`);
  });

  test("takes a name of one segment there and back, mounts from it, and finds it under the whole name", async (run) => {
    const { berth, developer } = run;
    const image = await writeImage(run.newFolder(), "gzip", `${client.tool} one segment`);
    const name = `${client.tool}-short`;
    await developer(client.push(berth.host, image.folder, `${berth.host}/${name}:v1`));
    assert.deepEqual(await berth.contentOf(`library/${name}`, "v1"), image.content);
    const before = await berth.count("mount", 201);
    await developer(client.copy(berth.host, `${berth.host}/${name}:v1`, `${berth.host}/${name}-copy:v1`));
    assert.ok((await berth.count("mount", 201)) > before, "nothing was mounted");
    for (const reference of [`${name}-copy:v1`, `library/${name}@${image.root.digest}`]) {
      const folder = run.newFolder();
      await developer(client.pull(berth.host, `${berth.host}/${reference}`, folder));
      assert.deepEqual((await readLayout(folder)).content, image.content);
    }
    assert.match(await developer(client.listTags(berth.host, `${berth.host}/${name}`)), /v1/);
  });

  test("deletes where the user may", async (run) => {
    const { berth, developer, maintainer } = run;
    const image = await writeImage(run.newFolder(), "gzip", `${client.tool} delete`);
    const repository = `library/${client.tool}/delete`;
    await developer(client.push(berth.host, image.folder, `${berth.host}/${repository}:gone`));
    const reference = `${berth.host}/${repository}@${image.root.digest}`;
    await assert.rejects(developer(client.remove(berth.host, reference)), /denied|unauthorized|403|forbidden/i);
    await berth.manifest(repository, "gone");
    await maintainer(client.remove(berth.host, reference));
    for (const each of ["gone", image.root.digest]) {
      assert.equal((await berth.ask(`${repository}/manifests/${each}`)).status, 404);
    }
  });

  test("pulls without an account what is public, and nothing else", async (run) => {
    const { berth, developer, anonymous } = run;
    const image = await writeImage(run.newFolder(), "index", `${client.tool} public`);
    for (const project of ["library", "vault"]) {
      await developer(client.push(berth.host, image.folder, `${berth.host}/${project}/${client.tool}/open:v1`));
    }
    const folder = run.newFolder();
    await anonymous(client.pull(berth.host, `${berth.host}/library/${client.tool}/open:v1`, folder));
    assert.deepEqual((await readLayout(folder)).content, image.content);
    const hidden = client.pull(berth.host, `${berth.host}/vault/${client.tool}/open:v1`, run.newFolder());
    await assert.rejects(anonymous(hidden), /denied|unauthorized|401|authentication/i);
    await assert.rejects(anonymous(client.push(berth.host, image.folder, `${berth.host}/library/${client.tool}/open:v2`)));
    assert.equal((await berth.ask(`library/${client.tool}/open/manifests/v2`)).status, 404);
  });

  test("lets a guest pull what is private, and refuses its push", async (run) => {
    const { berth, developer, guest } = run;
    const image = await writeImage(run.newFolder(), "gzip", `${client.tool} guest`);
    const repository = `vault/${client.tool}/guest`;
    await developer(client.push(berth.host, image.folder, `${berth.host}/${repository}:v1`));
    const folder = run.newFolder();
    await guest(client.pull(berth.host, `${berth.host}/${repository}:v1`, folder));
    assert.deepEqual((await readLayout(folder)).content, image.content);
    const push = client.push(berth.host, image.folder, `${berth.host}/${repository}:v2`);
    await assert.rejects(guest(push), /denied|unauthorized|403|forbidden/i);
    assert.equal((await berth.ask(`${repository}/manifests/v2`)).status, 404);
  });

  return tests;
}
