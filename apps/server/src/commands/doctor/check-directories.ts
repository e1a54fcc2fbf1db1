// Whether the directories of the settings (LDAP) answer, and let themselves be searched. Not here: people (`berth directory test`).
import type { Config } from "../../config.ts";
import { createDirectory } from "../../access/ldap/directory.ts";
import { openDirectoryServers } from "../../access/ldap/directory-servers.ts";
import { systemClock } from "../../platform/clock.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import type { Report } from "../../platform/report.ts";

/** A name that nobody has: what matters is that it can be asked for. */
const NOBODY = "berth-doctor-asks-for-nobody";

/** Reports on each; gives how many cannot be asked. Errors: `StartupError` for settings that cannot be used. */
export async function checkDirectories(config: Config, report: Report): Promise<number> {
  const { caFile } = config.outbound;
  let failed = 0;
  for (const [name, settings] of Object.entries(config.auth.ldap)) {
    const servers = await openDirectoryServers(name, settings, { clock: systemClock, outboundCaFile: caFile });
    const directory = createDirectory(name, settings, servers, () => systemClock.now());
    try {
      await directory.findByName(NOBODY);
      report.line("directory", { name, isGood: true }, `directory ${name}: answers`);
    } catch (error) {
      if (!(error instanceof LdapError)) throw error;
      failed++;
      report.line(
        "directory",
        { name, isGood: false, problem: error.problem, reason: error.message },
        `directory ${name} (${error.problem}): ${error.message}`,
      );
    } finally {
      directory.close();
    }
  }
  return failed;
}
