// The entry of the single executable, which has both programs: it is the credential helper where it is called by that name, as by a link. Not
// here: building it (tools/build-cli.ts).
import { basename } from "node:path";
import { main } from "./main.ts";

const HELPER = "docker-credential-berth";
const isHelper = basename(process.argv0).replace(/\.exe$/i, "") === HELPER;

// Not exit(): output that is not written yet would be lost.
process.exitCode = await main(isHelper ? HELPER : "berth", process.argv.slice(2));
