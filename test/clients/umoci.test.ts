// umoci and Berth: an image that umoci makes and changes in a layout goes to the registry and back through skopeo, and unpacks.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureTool } from "../tools/install.ts";
import { describeClient } from "./session.testing.ts";

describeClient({ tool: "umoci", alsoNeeds: ["skopeo"] }, [
  {
    name: "makes an image, changes what came back from the registry, and unpacks it",
    async run({ berth, developer, homes, newFolder }) {
      const skopeo = await ensureTool("skopeo");
      const { name, password } = berth.users.developer;
      const reference = `docker://${berth.host}/library/umoci/made:v1`;
      const copy = (...args: string[]) => homes.developer.run(skopeo, "copy", "--preserve-digests", ...args);
      const [first, second] = [newFolder(), newFolder()];
      const file = join(homes.developer.home, "greeting");
      await writeFile(file, "from umoci\n");

      await developer(["init", "--layout", first]);
      await developer(["new", "--image", `${first}:made`]);
      await developer(["insert", "--rootless", "--image", `${first}:made`, file, "/greeting"]);
      await copy("--dest-tls-verify=false", "--dest-creds", `${name}:${password}`, `oci:${first}:made`, reference);
      const before = await berth.contentOf("library/umoci/made", "v1");

      await copy("--src-tls-verify=false", reference, `oci:${second}:back`);
      await writeFile(file, "changed\n");
      await developer(["insert", "--rootless", "--image", `${second}:back`, file, "/changed"]);
      await copy("--dest-tls-verify=false", "--dest-creds", `${name}:${password}`, `oci:${second}:back`, reference);
      const after = await berth.contentOf("library/umoci/made", "v1");
      // The manifest and the configuration are new, and one layer: what was there stays.
      assert.equal(after.length, before.length + 1);

      const third = newFolder();
      await copy("--src-tls-verify=false", reference, `oci:${third}:final`);
      const bundle = newFolder();
      await developer(["unpack", "--rootless", "--image", `${third}:final`, bundle]);
      assert.equal(await readFile(join(bundle, "rootfs/greeting"), "utf8"), "from umoci\n");
      assert.equal(await readFile(join(bundle, "rootfs/changed"), "utf8"), "changed\n");
    },
  },
]);
