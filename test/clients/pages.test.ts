// The pages whose commands use clients, or take long: every block runs as printed, against a Berth of the page's own. Not here: quick pages
// (../docs/pages.test.ts), how a page is run (../docs/page-run.ts).
import { it } from "node:test";
import { runPage } from "../docs/page-run.ts";
import { isTranslation, needsOf, readPages } from "../docs/pages.ts";
import { startContainerd, startDockerd } from "../tools/daemons.ts";
import { skipOrThrow } from "../tools/install.ts";

for (const page of readPages()) {
  if (isTranslation(page) || page.isQuick) continue;
  it(`${page.path} runs as printed`, async (t) => {
    try {
      await using daemons = new AsyncDisposableStack();
      const tools: { dockerHost?: string; containerdAddress?: string } = {};
      if (needsOf(page).includes("docker")) {
        const docker = await startDockerd();
        daemons.defer(() => docker.stop());
        tools.dockerHost = docker.host;
      }
      if (needsOf(page).includes("ctr2")) {
        const containerd = await startContainerd(2);
        daemons.defer(() => containerd.stop());
        tools.containerdAddress = containerd.socket;
      }
      t.diagnostic(`${await runPage(page, tools)} blocks ran`);
    } catch (error) {
      skipOrThrow(t, error);
    }
  });
}
