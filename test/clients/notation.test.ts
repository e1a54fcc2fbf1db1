// notation against Berth: signatures as referrers and in the referrers tag, listed and verified from there. Not here: plugins and timestamps.
import assert from "node:assert/strict";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Layout, writeImage } from "./images.ts";
import { type ClientSession, describeClient } from "./session.testing.ts";

const plain = "--insecure-registry";
const signer = "berth.test";
const trustPolicy = {
  version: "1.0",
  trustPolicies: [
    {
      name: "tests",
      registryScopes: ["*"],
      signatureVerification: { level: "strict" },
      trustStores: [`ca:${signer}`],
      trustedIdentities: ["*"],
    },
  ],
};

/** Creates a certificate and trusts it: with its key in the developer's home, without it in the others. */
async function prepareTrust({ developer, homes }: ClientSession): Promise<void> {
  await developer(["cert", "generate-test", "--default", signer]);
  const settings = (home: string) => join(home, "config/notation");
  await writeFile(join(settings(homes.developer.home), "trustpolicy.json"), JSON.stringify(trustPolicy));
  for (const { home } of [homes.guest, homes.anonymous]) await cp(settings(homes.developer.home), settings(home), { recursive: true });
}

async function putImage({ berth, newFolder }: ClientSession, repository: string): Promise<{ image: Layout; reference: string }> {
  const image = await writeImage(newFolder(), "index", repository);
  await berth.push(image, repository, "v1");
  return { image, reference: `${berth.host}/${repository}@${image.root.digest}` };
}

// Credentials are passed with every command: notation's own store is a desktop helper, which a server does not have.
const asUser = ({ berth }: ClientSession, name: "developer" | "guest") => ["-u", name, "-p", berth.users[name].password];

describeClient({ tool: "notation" }, [
  {
    name: "signs as a referrer and in the referrers tag, and verifies from both",
    async run(session) {
      const { berth, developer, anonymous } = session;
      await prepareTrust(session);
      for (const [repository, isTag] of [
        ["library/notation/referrer", false],
        ["library/notation/tag", true],
      ] as const) {
        const { image, reference } = await putImage(session, repository);
        await assert.rejects(anonymous(["verify", plain, reference]), /no signature/i);
        await developer(["sign", plain, ...asUser(session, "developer"), `--force-referrers-tag=${isTag}`, reference]);
        await anonymous(["verify", plain, reference]);
        assert.match(await anonymous(["ls", plain, reference]), /application\/vnd\.cncf\.notary\.signature/);
        const answer = (await (await berth.ask(`${repository}/referrers/${image.root.digest}`)).json()) as {
          manifests: { artifactType: string }[];
        };
        assert.deepEqual(
          answer.manifests.map((each) => each.artifactType),
          ["application/vnd.cncf.notary.signature"],
        );
        const { tags } = (await (await berth.ask(`${repository}/tags/list`)).json()) as { tags: string[] };
        assert.deepEqual(tags, isTag ? [image.root.digest.replace(":", "-"), "v1"] : ["v1"]);
      }

      const { reference } = await putImage(session, "library/notation/guest");
      await assert.rejects(
        session.guest(["sign", plain, ...asUser(session, "guest"), "--force-referrers-tag=false", reference]),
        /denied|unauthorized|403|forbidden/i,
      );
      await assert.rejects(anonymous(["verify", plain, reference]), /no signature/i);
    },
  },
]);
