// The pages whose commands use clients: every block runs as printed, against a Berth of the page's own. Not here: pages that need no client
// (../docs/pages.test.ts), how a page is run (../docs/page-run.ts).
import { it } from "node:test";
import { runPage } from "../docs/page-run.ts";
import { isTranslation, needsOf, readPages } from "../docs/pages.ts";
import { startDockerd } from "../tools/daemons.ts";
import { skipOrThrow } from "../tools/install.ts";

for (const page of readPages()) {
  if (isTranslation(page) || (needsOf(page).length === 0 && !page.needsOldRegistry)) continue;
  it(`${page.path} runs as printed`, async (t) => {
    try {
      const docker = needsOf(page).includes("docker") ? await startDockerd() : undefined;
      try {
        t.diagnostic(`${await runPage(page, docker === undefined ? {} : { dockerHost: docker.host })} blocks ran`);
      } finally {
        await docker?.stop();
      }
    } catch (error) {
      skipOrThrow(t, error);
    }
  });
}
