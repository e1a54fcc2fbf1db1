// A registry with an image, library/app, that sends webhooks, to be killed at any moment: `webhook-worker.ts NAME=VALUE...`, settings as flags.
// It says `ready` and its address. Not here: who kills it, and the receiver (webhooks-killed.test.ts).
import { startTestRegistry } from "../flows/registry.testing.ts";

const settings = Object.fromEntries(
  process.argv.slice(2).map((flag) => [flag.slice(0, flag.indexOf("=")), flag.slice(flag.indexOf("=") + 1)]),
);
const registry = await startTestRegistry({ ...settings, "outbound.allow": "127.0.0.0/8", "outbound.insecureHttp": "true" }, { jobs: true });
console.log(`ready ${registry.origin}`);
