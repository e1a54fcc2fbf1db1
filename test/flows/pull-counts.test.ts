// Which requests count as pulls, and that counts survive a stop. Not here: how they are written (content/pulls.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { temporaryFolder, startTestRegistry } from "./registry.testing.ts";

it("pull counts: counts manifests that were given away, or asked for anew by who has them, and shows it after a restart", async () => {
  const folder = await temporaryFolder();
  try {
    const first = await startTestRegistry({ data: folder.path });
    const { digest } = await first.pushImage("library/pulled", "v1");
    await first.pushImage("library/left", "v1");
    const path = "/v2/library/pulled/manifests/";
    const statuses: number[] = [];
    const ask = async (method: string, reference: string, headers: Record<string, string> = {}): Promise<void> => {
      const answer = await first.send(method, path + reference, { headers });
      await answer.arrayBuffer();
      statuses.push(answer.status);
    };
    const before = Date.now();
    await ask("GET", "v1");
    await ask("GET", digest);
    await ask("GET", "v1", { "if-none-match": `"${digest}"` });
    await ask("HEAD", "v1");
    await ask("GET", "none");
    assert.deepEqual(statuses, [200, 200, 304, 200, 404]);
    await first.stop();

    const second = await startTestRegistry({ data: folder.path });
    const view = async (name: string): Promise<{ pulls: number; pulledAt: string | null }> =>
      (await (await second.send("GET", `/api/v1/projects/library/repositories/${name}`)).json()) as {
        pulls: number;
        pulledAt: string | null;
      };
    const { pulls, pulledAt } = await view("pulled");
    assert.equal(pulls, 3);
    assert.ok(pulledAt !== null && Date.parse(pulledAt) >= before && Date.parse(pulledAt) <= Date.now(), String(pulledAt));
    const left = await view("left");
    assert.deepEqual([left.pulls, left.pulledAt], [0, null]);
    await second.stop();
  } finally {
    await folder.end();
  }
});
