// Signatures of snapshots: a changed, renamed, stripped or foreign signature is refused or reported, and the target is not touched before
// that. Not here: accidental damage (backup.test.ts).
import assert from "node:assert/strict";
import { cp, readFile, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { after, before, it } from "node:test";
import { blobOf, putOf, upload, inRepository } from "../../content/content.testing.ts";
import { createSqliteForTest, forEachDatabase } from "../../platform/database/databases.testing.ts";
import { findMigrationVersion } from "../../platform/database/migrate.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { fingerprintOf, manifestName, type SnapshotManifest } from "./backup-format.ts";
import { backUp, createFolder, createSite, dumpOf, grantsOf, restoreTo, TEST_KEY, TRUSTED, type TestSite } from "./backup.testing.ts";
import { openDirectoryPlace } from "./directory-place.ts";
import { checkBackup, readSnapshot } from "./restore.ts";
import { signSnapshot, stateOfSignature, type SignatureRule } from "./signature.ts";

const OTHER_KEY = Buffer.alloc(32, 8);

type ManifestFile = { manifest: SnapshotManifest; digest: string; signature?: unknown };

const says =
  (pattern: RegExp) =>
  (error: unknown): boolean =>
    error instanceof StartupError && pattern.test(error.message);

forEachDatabase("a signed snapshot", (create) => {
  const ends: (() => Promise<void>)[] = [];
  let source: TestSite;
  let original: string;
  let snapshot: string;
  let places = 0;
  let folder: Awaited<ReturnType<typeof createFolder>>;

  before(async () => {
    folder = await createFolder();
    ends.push(() => folder.end());
    const test = await create();
    ends.push(() => test.end());
    source = createSite(test);
    const push = (await grantsOf(source))("push", "test/one");
    const id = (await source.content.repositories.ensure(push)).id;
    const blobs = [blobOf("config", 1), blobOf("layer ")];
    for (const blob of blobs) await upload(source.content, push, blob);
    await source.content.manifests.put(inRepository(push, id), putOf(blobs, ["v1"]));
    original = join(folder.path, "original");
    const result = await backUp(source, openDirectoryPlace(original));
    assert.equal(result.isSigned, true);
    ({ snapshot } = result);
  });
  after(async () => {
    for (const end of ends.toReversed()) await end();
  });

  /** A copy of the place with another manifest, whose digest the attacker has recomputed. */
  async function changedPlace(change: (file: ManifestFile) => ManifestFile) {
    const path = join(folder.path, `place-${++places}`);
    await cp(original, path, { recursive: true });
    const name = join(path, manifestName(snapshot));
    const file = change(JSON.parse(await readFile(name, "utf8")) as ManifestFile);
    const digest = `sha256:${createHash("sha256").update(JSON.stringify(file.manifest)).digest("hex")}`;
    await writeFile(name, JSON.stringify({ ...file, digest }));
    return openDirectoryPlace(path);
  }
  type Place = Awaited<ReturnType<typeof changedPlace>>;

  /** The results and messages of a check and of a restore: both must be the same. */
  async function outcome(place: Place, signature: SignatureRule, masterKey: Uint8Array = TEST_KEY): Promise<string> {
    const warnings: string[] = [];
    const parts = { ...TRUSTED, signature, masterKey, onWarning: (text: string) => void warnings.push(text) };
    const test = await createSqliteForTest({ migrated: false });
    try {
      const target = createSite(test);
      const restored = await restoreTo(target, place, { ...parts, withNewKey: true }).then(
        () => "restored",
        (error: unknown) => {
          assert.ok(error instanceof StartupError, String(error));
          return error.message;
        },
      );
      const checked = await checkBackup({ ...parts, place, snapshot: undefined, parallel: 1, onProgress: () => undefined }).then(
        () => "restored",
        (error: unknown) => (error as Error).message,
      );
      assert.equal(checked, restored);
      if (restored !== "restored") {
        assert.equal(await findMigrationVersion(test.database), 0, "the target was touched");
        return restored;
      }
      assert.equal(new Set(warnings).size, warnings.length / 2, "said once each");
      return warnings.length === 0 ? "restored" : `restored; ${warnings[0]}`;
    } finally {
      await test.end();
    }
  }

  it("is restored, and nothing is said of it", async () => {
    const place = openDirectoryPlace(original);
    for (const rule of ["known", "required", "ignored"] as const) assert.equal(await outcome(place, rule), "restored");
    const target = await create({ migrated: false });
    ends.push(() => target.end());
    const site = createSite(target);
    await restoreTo(site, place);
    assert.deepEqual(await dumpOf(site.test.database), await dumpOf(source.test.database));
    assert.equal(stateOfSignature(await readSnapshot(place, snapshot), TEST_KEY), "good");
    assert.equal(stateOfSignature(await readSnapshot(place, snapshot), undefined), "unknown");
  });

  it("is refused when a word of it was changed, unless its signature is to be ignored", async () => {
    const changes: Readonly<Record<string, (file: ManifestFile) => ManifestFile>> = {
      "a program's name": (file) => ({ ...file, manifest: { ...file.manifest, program: "berth other" } }),
      "a counter": (file) => ({ ...file, manifest: { ...file.manifest, idCounters: { ...file.manifest.idCounters, account: 7000 } } }),
      "the signature": (file) => ({ ...file, signature: String(file.signature).replace(/.$/, (last) => (last === "0" ? "1" : "0")) }),
      "the signature's kind": (file) => ({ ...file, signature: String(file.signature).replace("hmac-sha256:", "") }),
      "a signature that is no text": (file) => ({ ...file, signature: { toString: "x" } }),
      "an empty signature": (file) => ({ ...file, signature: "" }),
      "a signature of null": (file) => ({ ...file, signature: null }),
    };
    for (const [what, change] of Object.entries(changes)) {
      const place = await changedPlace(change);
      assert.match(await outcome(place, "known"), /^snapshot .* is not what was signed .*--unsigned takes it/, what);
      assert.match(await outcome(place, "required"), /^snapshot .* is not what was signed/, what);
      assert.match(await outcome(place, "ignored"), /^restored; .* is not what was signed/, what);
    }
  });

  it("cannot be passed off as a newer one", async () => {
    const path = join(folder.path, `place-${++places}`);
    await cp(original, path, { recursive: true });
    await cp(join(path, "snapshots", snapshot), join(path, "snapshots", "20991231T235959000Z"), { recursive: true });
    assert.match(await outcome(openDirectoryPlace(path), "known"), /^snapshot 20991231T235959000Z is not what was signed/);
  });

  it("whose signature is taken away is told from a signed one, and refused where signatures are required", async () => {
    const place = await changedPlace(({ manifest, digest }) => ({ manifest, digest }));
    assert.match(await outcome(place, "known"), /^restored; snapshot .* is not signed/);
    assert.match(await outcome(place, "required"), /^snapshot .* is not signed/);
    // Like a backup that was taken without the secret key.
    const unsigned = openDirectoryPlace(join(folder.path, `place-${++places}`));
    assert.equal((await backUp(source, unsigned, { masterKey: undefined })).isSigned, false);
    assert.match(await outcome(unsigned, "known"), /^restored; snapshot .* is not signed/);
    assert.match(await outcome(unsigned, "required"), /^snapshot .* is not signed/);
  });

  it("of another key is taken only where its signature is to be ignored, whoever it says that it is of", async () => {
    const forged = await changedPlace(({ manifest, digest }) => {
      const own = { ...manifest, keyFingerprint: fingerprintOf(OTHER_KEY) };
      return { manifest: own, digest, signature: signSnapshot(OTHER_KEY, snapshot, own) };
    });
    assert.match(await outcome(forged, "known"), /^snapshot .* is signed with another secret key.*--unsigned/);
    assert.match(await outcome(forged, "ignored"), /^restored; .* another secret key/);
    const place = openDirectoryPlace(original);
    assert.match(await outcome(place, "known", OTHER_KEY), /^snapshot .* is signed with another secret key.*--unsigned/);
    const test = await createSqliteForTest({ migrated: false });
    ends.push(() => test.end());
    await assert.rejects(restoreTo(createSite(test), place, { masterKey: OTHER_KEY }), says(/encrypted with the key of fingerprint/));
  });

  it("can be checked without the key but for its signature", async () => {
    const warnings: string[] = [];
    const parts = { ...TRUSTED, place: openDirectoryPlace(original), snapshot: undefined, parallel: 1, masterKey: undefined };
    await checkBackup({ ...parts, onWarning: (text) => void warnings.push(text), onProgress: () => undefined });
    assert.match(warnings.join(), /^the signature of snapshot .* cannot be checked: the secret key is not known here$/);
    await assert.rejects(checkBackup({ ...parts, signature: "required", onProgress: () => undefined }), says(/cannot be checked/));
  });
});
