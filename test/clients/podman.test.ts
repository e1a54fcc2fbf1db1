// podman against Berth: what clients with a store of their own must do (store-client.ts), and searching. No container is run.
import assert from "node:assert/strict";
import { writeImage } from "./images.ts";
import { describeStoreClient } from "./store-client.ts";

const store = (home: string) => [
  "--root",
  `${home}/store`,
  "--runroot",
  `${home}/run/store`,
  "--storage-driver",
  "vfs",
  // systemd, its default, is not everywhere that tests run.
  "--cgroup-manager=cgroupfs",
];

describeStoreClient("podman", store, [
  {
    name: "lists tags and finds repositories",
    async run({ berth, developer, newFolder }) {
      const image = await writeImage(newFolder(), "gzip", "podman search");
      for (const tag of ["v1", "v2"]) await berth.push(image, "vault/podman/search", tag);
      const name = `${berth.host}/vault/podman/search`;
      const search = async (...args: string[]) =>
        JSON.parse(await developer(["search", "--tls-verify=false", "--format", "json", ...args])) as object[];
      assert.deepEqual(await search("--list-tags", name), [{ Name: name, Tags: ["v1", "v2"] }]);
      const found = (await search(`${berth.host}/podman/sea`)) as { Name: string }[];
      assert.deepEqual(
        found.map((each) => each.Name),
        [name],
      );
    },
  },
]);
