// buildah against Berth: what clients with a store of their own must do (store-client.ts), and an image built from a file. No step of it runs
// a container.
import assert from "node:assert/strict";
import { describeStoreClient, writeText } from "./store-client.ts";

// vfs copies files instead of mounting overlayfs, so it also works inside a container.
const store = (home: string) => ["--root", `${home}/store`, "--runroot", `${home}/run/store`, "--storage-driver", "vfs"];

describeStoreClient("buildah", store, [
  {
    name: "builds on an image of the registry, and pushes only what is new",
    async run({ berth, developer, homes }) {
      const { home } = homes.developer;
      await writeText(home, "hello", "hello\n");
      const base = `${berth.host}/library/buildah/base:v1`;
      await writeText(home, "Base", "FROM scratch\nCOPY hello /hello\n");
      await developer(["build", "-q", "-f", "Base", "-t", base, home]);
      await developer(["push", "-q", "--tls-verify=false", base]);
      await writeText(home, "Child", `FROM ${base}\nCOPY Child /child\nLABEL made=here\n`);
      const child = `${berth.host}/library/buildah/child:v1`;
      await developer(["build", "-q", "--tls-verify=false", "--layers", "-f", "Child", "-t", child, home]);
      const mounts = await berth.count("mount", 201);
      await developer(["push", "-q", "--tls-verify=false", child]);
      assert.equal((await berth.count("mount", 201)) - mounts, 1);
      const [below, above] = [await berth.contentOf("library/buildah/base", "v1"), await berth.contentOf("library/buildah/child", "v1")];
      assert.equal(below.filter((digest) => above.includes(digest)).length, 1);
    },
  },
]);
