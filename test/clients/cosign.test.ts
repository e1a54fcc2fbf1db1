// cosign against Berth: signatures and attestations stored beside the image, as referrers and under tags, and verified from there.
// Not here: transparency logs and certificates, which need services of their own.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Berth } from "./berth.ts";
import { type Layout, writeImage } from "./images.ts";
import { pushLargeReferrers } from "./large-referrers.ts";
import { type ClientSession, describeClient } from "./session.testing.ts";

const plain = "--allow-http-registry";
const signLocally = ["-y", "--use-signing-config=false", "--tlog-upload=false", plain];
const verifyLocally = ["--insecure-ignore-tlog", plain];
const oldFormat = "--new-bundle-format=false";

/** Creates a key pair and returns the private key's path. The public key is beside it. */
async function makeKey({ developer, homes }: ClientSession, name: string): Promise<string> {
  await developer(["generate-key-pair", "--output-key-prefix", name]);
  return join(homes.developer.home, name);
}

async function putImage({ berth, newFolder }: ClientSession, repository: string): Promise<{ image: Layout; reference: string }> {
  const image = await writeImage(newFolder(), "gzip", repository);
  await berth.push(image, repository, "v1");
  return { image, reference: `${berth.host}/${repository}@${image.root.digest}` };
}

async function referrerTypes(berth: Berth, repository: string, digest: string): Promise<string[]> {
  const answer = (await (await berth.ask(`${repository}/referrers/${digest}`)).json()) as { manifests: { artifactType: string }[] };
  return answer.manifests.map((each) => each.artifactType).toSorted();
}

async function tagsOf(berth: Berth, repository: string): Promise<string[]> {
  return ((await (await berth.ask(`${repository}/tags/list`)).json()) as { tags: string[] }).tags;
}

describeClient(
  {
    tool: "cosign",
    login: (host, { name, password }) => ["login", "-u", name, "-p", password, host],
    // The keys of these tests have no password; without the variable cosign would ask for one.
    environment: () => ({ COSIGN_PASSWORD: "" }),
  },
  [
    {
      name: "signs into a referrer, and verifies from it without an account",
      async run(session) {
        const { berth, developer, anonymous } = session;
        const { image, reference } = await putImage(session, "library/cosign/referrer");
        const [key, otherKey] = [await makeKey(session, "one"), await makeKey(session, "two")];
        await developer(["sign", ...signLocally, "--key", `${key}.key`, reference]);
        const types = await referrerTypes(berth, "library/cosign/referrer", image.root.digest);
        assert.deepEqual(types, ["application/vnd.dev.sigstore.bundle.v0.3+json"]);
        assert.deepEqual(await tagsOf(berth, "library/cosign/referrer"), ["v1"]);
        const verified = await anonymous(["verify", ...verifyLocally, "--key", `${key}.pub`, reference]);
        assert.match(verified, new RegExp(image.root.digest));
        await assert.rejects(anonymous(["verify", ...verifyLocally, "--key", `${otherKey}.pub`, reference]));
      },
    },
    {
      name: "reads the first page of referrers alone, and refuses an image whose signature is on a later one",
      async run(session) {
        const { berth, developer, anonymous } = session;
        const { image, reference } = await putImage(session, "library/cosign/pages");
        await pushLargeReferrers(
          berth,
          "library/cosign/pages",
          image,
          Array.from({ length: 4 }, () => 1_300_000),
        );
        const key = await makeKey(session, "pages");
        await developer(["sign", ...signLocally, "--key", `${key}.key`, reference]);
        const first = await berth.ask(`library/cosign/pages/referrers/${image.root.digest}`);
        assert.match(first.headers.get("link") ?? "", /rel="next"/);
        assert.doesNotMatch(await first.text(), /sigstore/);
        // This is a limit of the client, which a registry cannot fix: go-containerregistry does not follow Link.
        await assert.rejects(anonymous(["verify", ...verifyLocally, "--key", `${key}.pub`, reference]), /no signatures found/);
      },
    },
    {
      name: "signs under a .sig tag, and verifies from it",
      async run(session) {
        const { berth, developer, anonymous } = session;
        const { image, reference } = await putImage(session, "library/cosign/tag");
        const key = await makeKey(session, "tag");
        await developer(["sign", ...signLocally, oldFormat, "--key", `${key}.key`, reference]);
        assert.deepEqual(await tagsOf(berth, "library/cosign/tag"), [`${image.root.digest.replace(":", "-")}.sig`, "v1"]);
        assert.deepEqual(await referrerTypes(berth, "library/cosign/tag", image.root.digest), []);
        assert.match(
          await anonymous(["verify", ...verifyLocally, oldFormat, "--key", `${key}.pub`, reference]),
          new RegExp(image.root.digest),
        );
        // A second signature goes into the same manifest, under the same tag.
        const second = await makeKey(session, "second");
        await developer(["sign", ...signLocally, oldFormat, "--key", `${second}.key`, reference]);
        for (const each of [key, second]) await anonymous(["verify", ...verifyLocally, oldFormat, "--key", `${each}.pub`, reference]);
      },
    },
    {
      name: "attests, and verifies the attestation",
      async run(session) {
        const { developer, anonymous } = session;
        const { reference } = await putImage(session, "library/cosign/attestation");
        const key = await makeKey(session, "attest");
        const predicate = join(session.homes.developer.home, "predicate.json");
        await writeFile(predicate, '{"passed":true}');
        const type = ["--type", "custom"];
        await developer(["attest", ...signLocally, "--key", `${key}.key`, "--predicate", predicate, ...type, reference]);
        const verified = await anonymous(["verify-attestation", ...verifyLocally, "--key", `${key}.pub`, ...type, reference]);
        const { payload } = JSON.parse(verified.split("\n")[0] ?? "") as { payload: string };
        const statement = JSON.parse(Buffer.from(payload, "base64").toString()) as { predicate: { Data: string } };
        assert.equal(statement.predicate.Data, '{"passed":true}');
        await assert.rejects(anonymous(["verify-attestation", ...verifyLocally, "--key", `${key}.pub`, "--type", "spdx", reference]));
      },
    },
    {
      name: "copies an image with its signature to another repository",
      async run(session) {
        const { developer, guest } = session;
        const { image, reference } = await putImage(session, "library/cosign/source");
        const key = await makeKey(session, "copy");
        await developer(["sign", ...signLocally, oldFormat, "--key", `${key}.key`, reference]);
        const target = `${session.berth.host}/vault/cosign/target`;
        await developer(["copy", plain, `${session.berth.host}/library/cosign/source:v1`, `${target}:v1`]);
        await guest(["verify", ...verifyLocally, oldFormat, "--key", `${key}.pub`, `${target}@${image.root.digest}`]);
      },
    },
    {
      name: "cannot sign as a guest",
      async run(session) {
        const { berth, guest } = session;
        const { image, reference } = await putImage(session, "library/cosign/guest");
        const key = await makeKey(session, "guest");
        await assert.rejects(guest(["sign", ...signLocally, "--key", `${key}.key`, reference]), /denied|unauthorized|403/i);
        assert.deepEqual(await referrerTypes(berth, "library/cosign/guest", image.root.digest), []);
      },
    },
  ],
);
