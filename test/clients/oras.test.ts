// oras against Berth: what every layout client must do (layout-client.ts), and artifacts that refer to an image.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { LAYOUT_TAG, writeImage } from "./images.ts";
import { describeLayoutClient } from "./layout-client.ts";

describeLayoutClient(
  {
    tool: "oras",
    login: (host, { name, password }) => ["login", "--plain-http", "-u", name, "-p", password, host],
    push: (_host, folder, reference) => ["cp", "--from-oci-layout", `${folder}:${LAYOUT_TAG}`, "--to-plain-http", reference],
    pull: (_host, reference, folder) => ["cp", "--from-plain-http", reference, "--to-oci-layout", `${folder}:${LAYOUT_TAG}`],
    listTags: (_host, repository) => ["repo", "tags", "--plain-http", repository],
    copy: (_host, from, to) => ["cp", "--from-plain-http", from, "--to-plain-http", to],
    remove: (_host, reference) => ["manifest", "delete", "--plain-http", "--force", reference],
  },
  [
    {
      name: "attaches artifacts to an image, finds them by type, and copies them with it",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "oras subject");
        const reference = `${berth.host}/library/oras/subject:v1`;
        await developer(["cp", "--from-oci-layout", `${image.folder}:${LAYOUT_TAG}`, "--to-plain-http", reference]);
        const plain = ["--plain-http", "--disable-path-validation"];
        for (const type of ["application/vnd.example.sbom", "application/vnd.example.scan"]) {
          const file = join(dirname(newFolder()), "report.json");
          await writeFile(file, JSON.stringify({ type }));
          await developer(["attach", ...plain, "--artifact-type", type, reference, `${file}:application/json`]);
        }
        const discover = async (from: string, ...more: string[]) =>
          JSON.parse(await developer(["discover", "--plain-http", "--format", "json", ...more, from])) as {
            referrers?: { artifactType: string; digest: string }[];
          };
        const all = (await discover(reference)).referrers ?? [];
        assert.deepEqual(all.map((each) => each.artifactType).toSorted(), ["application/vnd.example.sbom", "application/vnd.example.scan"]);
        const scans = (await discover(reference, "--artifact-type", "application/vnd.example.scan")).referrers ?? [];
        assert.deepEqual(
          scans.map((each) => each.artifactType),
          ["application/vnd.example.scan"],
        );
        const copy = `${berth.host}/vault/oras/subject:v1`;
        await developer(["cp", "-r", "--from-plain-http", reference, "--to-plain-http", copy]);
        const copied = (await discover(copy)).referrers ?? [];
        assert.deepEqual(copied.map((each) => each.digest).toSorted(), all.map((each) => each.digest).toSorted());
      },
    },
    {
      name: "follows the pages of referrers, which end by bytes",
      async run({ berth, developer, newFolder }) {
        const image = await writeImage(newFolder(), "gzip", "oras pages");
        const reference = `${berth.host}/library/oras/pages:v1`;
        await developer(["cp", "--from-oci-layout", `${image.folder}:${LAYOUT_TAG}`, "--to-plain-http", reference]);
        const folder = dirname(newFolder());
        const [file, notes] = [join(folder, "note.txt"), join(folder, "annotations.json")];
        await writeFile(file, "note");
        const plain = ["--plain-http", "--disable-path-validation"];
        // Of these, three with a small one between fill a page.
        const sizes = [1_300_000, 10, 1_300_000, 1_300_000, 1_300_000, 10, 1_300_000];
        for (const [i, size] of sizes.entries()) {
          await writeFile(notes, JSON.stringify({ $manifest: { note: "n".repeat(size) } }));
          const type = `application/vnd.example.note${i}`;
          await developer(["attach", ...plain, "--annotation-file", notes, "--artifact-type", type, reference, `${file}:text/plain`]);
        }
        const first = await berth.ask(`library/oras/pages/referrers/${image.root.digest}`);
        assert.match(first.headers.get("link") ?? "", /rel="next"/);
        const bytes = (await first.arrayBuffer()).byteLength;
        assert.ok(bytes > 2_000_000 && bytes <= 4 * 1024 * 1024, `${bytes} bytes`);
        const found = JSON.parse(await developer(["discover", "--plain-http", "--format", "json", reference])) as {
          referrers?: { artifactType: string; annotations: Record<string, string> }[];
        };
        assert.deepEqual(
          (found.referrers ?? []).map((each) => [each.artifactType, each.annotations["note"]?.length]),
          sizes.map((size, i) => [`application/vnd.example.note${i}`, size]),
        );
      },
    },
    {
      name: "pushes and pulls files as an artifact",
      async run({ berth, developer, newFolder }) {
        const folder = dirname(newFolder());
        const file = join(folder, "model.bin");
        await writeFile(file, Buffer.alloc(3_000_000, "weights"));
        const reference = `${berth.host}/library/oras/files:v1`;
        await developer(["push", "--plain-http", "--disable-path-validation", reference, `${file}:application/vnd.example.model`]);
        const target = newFolder();
        await developer(["pull", "--plain-http", "--allow-path-traversal", "-o", target, reference]);
        assert.deepEqual(await readFile(file), Buffer.alloc(3_000_000, "weights"));
      },
    },
  ],
);
