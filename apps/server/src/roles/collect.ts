// The role `gc`: one round of garbage collection now, or an explanation of the next one. Not here: the collection itself
// (distribution/collector.ts).
import { composeBackgroundWork } from "../compose.ts";
import { withFoundation } from "../compose/foundation.ts";
import { openReader, requireDatabase } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { maintain } from "./maintain.ts";
import { commandLog, withRoleContext } from "./context.ts";

/** Runs one round and prints its result. */
export async function runCollection(config: Config): Promise<number | undefined> {
  requireDatabase(config);
  return withRoleContext(config, commandLog(config), async (roleContext) => {
    await withFoundation(roleContext, async (foundation) => {
      process.stdout.write(`${JSON.stringify(await composeBackgroundWork(roleContext, foundation).collectOnce())}\n`);
    });
    return undefined;
  });
}

/** Explains what the next round would do. Exit codes: those of `maintain`. */
export async function explainCollection(
  config: Config,
  options: { readonly json?: boolean | undefined; readonly limit?: string | undefined; readonly digest?: string | undefined },
): Promise<number> {
  const { runExplain } = await import("../commands/collection/explain-command.ts");
  const { limit, digest } = options;
  return maintain(config, "gc", options.json === true, (parts) => runExplain({ ...parts, config, openReader }, { limit, digest }));
}
