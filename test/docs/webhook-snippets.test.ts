// The snippets of docs/guide/webhooks.md that verify a signature, run as printed where the language is here: they take what the server signs, and nothing else.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { cannotRunHere } from "../tools/install.ts";
import { signedHeaders } from "../../apps/server/src/features/webhooks/webhook-signature.ts";

const PAGE = new URL("../../docs/guide/webhooks.md", import.meta.url);
const SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
const BODY = '{"text":"ü \\"quoted\\""}';
const [signature, timestamp] = [signedHeaders(SECRETS, "change-1", 1_700_000_000_000, BODY)["webhook-signature"]!, "1700000000"];

async function snippet(language: string): Promise<string> {
  const found = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "s").exec(await readFile(PAGE, "utf8"))?.[1];
  assert.ok(found !== undefined, language);
  return found;
}

const call = (secret: string, body: string): string =>
  [secret, "change-1", timestamp, body, signature].map((each) => JSON.stringify(each)).join(", ");
const GOOD: readonly (readonly [string, string, boolean])[] = [
  [SECRETS[0]!, BODY, true],
  [SECRETS[1]!, BODY, true],
  [SECRETS[0]!, `${BODY} `, false],
  ["whsec_BBBB", BODY, false],
];
const has = (program: string, option = "--version"): string | false =>
  spawnSync(program, [option]).status === 0 ? false : `${cannotRunHere}${program} is not installed`;

it("bash and openssl verify", { skip: has("openssl", "version") }, async () => {
  const code = await snippet("bash");
  for (const [secret, body, isGood] of GOOD) {
    const env = { ...process.env, secret, id: "change-1", timestamp, body, signature };
    assert.equal(execFileSync("bash", ["-c", code], { env, encoding: "utf8" }).trim(), isGood ? "good" : "bad");
  }
});

it("Python verifies", { skip: has("python3") }, async () => {
  const code = await snippet("python");
  for (const [secret, body, isGood] of GOOD)
    assert.equal(
      execFileSync("python3", ["-c", `${code}\nprint(is_signed(${call(secret, body)}))`], { encoding: "utf8" }).trim(),
      isGood ? "True" : "False",
    );
});

it("Node.js verifies", async () => {
  const code = await snippet("js");
  for (const [secret, body, isGood] of GOOD)
    assert.equal(
      execFileSync(process.execPath, ["-e", `${code}\nconsole.log(isSigned(${call(secret, body)}))`], { encoding: "utf8" }).trim(),
      String(isGood),
    );
});

it("Go verifies", { skip: has("go", "version"), timeout: 300_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "berth-go-"));
  try {
    const imports = ["crypto/hmac", "crypto/sha256", "encoding/base64", "fmt", "strings"].map((each) => `import "${each}"`).join("\n");
    const calls = GOOD.map(([secret, body]) => `fmt.Println(isSigned(${call(secret, body)}))`).join("\n");
    await writeFile(join(folder, "main.go"), `package main\n${imports}\n${await snippet("go")}\nfunc main() {\n${calls}\n}\n`);
    const output = execFileSync("go", ["run", join(folder, "main.go")], { encoding: "utf8", env: { ...process.env, GO111MODULE: "off" } });
    assert.deepEqual(
      output.trim().split("\n"),
      GOOD.map(([, , isGood]) => String(isGood)),
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
