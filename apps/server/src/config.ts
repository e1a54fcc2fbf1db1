// Every setting of the server, joined from their owners' declarations with default, unit, bounds and meaning (`*-settings.ts`). The flags,
// the environment's names, `config.example.yaml` and the type `Config` are derived from this. Not here: how values are read
// (config-load.ts) and shown (config-document.ts).
import { join } from "node:path";
import { findOidcProblems } from "./access/oidc-settings.ts";
import { authSettings } from "./access/access-settings.ts";
import { path, type Repeated, type Setting, showListenAddress, showSize } from "./config-kinds.ts";
import { S3_PARTS_MAX, storageSettings } from "./content/blobs/store-settings.ts";
import { collectionSettings } from "./content/collection-settings.ts";
import { limitSettings, projectSettings, pushSettings } from "./distribution/distribution-settings.ts";
import { auditSettings } from "./features/audit/audit-settings.ts";
import { httpSettings } from "./http/http-settings.ts";
import { databaseSettings } from "./platform/database/database-settings.ts";
import { carriesAuthorization } from "./platform/host-names.ts";
import { logSettings, metricsSettings, tracingSettings } from "./platform/observation-settings.ts";
import { outboundSettings } from "./platform/outbound-settings.ts";

/** The exit code for an invalid configuration. Source: EX_CONFIG of sysexits.h. */
export const EXIT_CONFIG = 78;

/** All settings. A setting's path, such as `http.listen`, is also its flag `--http.listen` and its variable `BERTH_HTTP_LISTEN`. */
export const CONFIG_SCHEMA = {
  data: path({
    standard: "./data",
    about: "The directory for everything that the server keeps on this machine. Created with mode 0700 and locked while the server runs.",
  }),
  http: httpSettings,
  database: databaseSettings,
  storage: storageSettings,
  projects: projectSettings,
  push: pushSettings,
  limits: limitSettings,
  auth: authSettings,
  gc: collectionSettings,
  outbound: outboundSettings,
  log: logSettings,
  metrics: metricsSettings,
  tracing: tracingSettings,
  audit: auditSettings,
};

/** The values of a schema. */
export type ValuesOf<S> =
  S extends Setting<infer T>
    ? T
    : S extends Repeated<infer E, "list">
      ? readonly ValuesOf<E>[]
      : S extends Repeated<infer E, "map">
        ? Readonly<Record<string, ValuesOf<E>>>
        : { readonly [K in keyof S]: ValuesOf<S[K]> };

/** The settings' values, frozen. Sizes are in bytes, times in seconds, paths absolute. */
export type Config = ValuesOf<typeof CONFIG_SCHEMA> & {
  /** The place of each setting that file, environment or flags set, by path. */
  readonly writtenAt: ReadonlyMap<string, string>;
};

/** Sets the settings whose default is derived from another's value. */
export function withDerivedDefaults(config: Config): Config {
  const { storage } = config;
  if (storage.filesystem.directory !== "") return config;
  return { ...config, storage: { ...storage, filesystem: { directory: join(config.data, "content") } } };
}

/** Contradictions between settings that are each valid: pairs of a setting's path and the problem. */
export function findContradictions(config: Config): readonly (readonly [string, string])[] {
  const { http, storage, limits, metrics, database, auth } = config;
  const { s3 } = storage;
  const found: [string, string][] = [];
  const refuse = (isWrong: boolean, setting: string, problem: string) => {
    if (isWrong) found.push([setting, problem]);
  };
  refuse(
    http.tls.certificateFile !== undefined && http.tls.keyFile === undefined,
    "http.tls.keyFile",
    "is missing: http.tls.certificateFile is set",
  );
  refuse(
    http.tls.keyFile !== undefined && http.tls.certificateFile === undefined,
    "http.tls.certificateFile",
    "is missing: http.tls.keyFile is set",
  );
  const isS3 = storage.kind === "s3";
  refuse(isS3 && s3.bucket === undefined, "storage.s3.bucket", "is missing: storage.kind is s3");
  refuse(!isS3 && s3.bucket !== undefined, "storage.s3.bucket", "is set, but storage.kind is filesystem: set storage.kind to s3");
  refuse(!isS3 && storage.redirect === "always", "storage.redirect", "cannot be always: only storage.kind s3 has signed addresses");
  const storeAddress = s3.publicEndpoint ?? s3.endpoint;
  refuse(
    storage.redirect === "always" &&
      http.publicUrl !== undefined &&
      storeAddress !== undefined &&
      carriesAuthorization(http.publicUrl, storeAddress),
    "storage.s3.publicEndpoint",
    "has the host name of http.publicUrl or one below it: clients would send the registry's tokens to the S3 service; give it another name, or set storage.redirect to never",
  );
  refuse(
    s3.accessKeyId !== undefined && s3.secretAccessKey === undefined,
    "storage.s3.secretAccessKey",
    "is missing: storage.s3.accessKeyId is set",
  );
  refuse(
    s3.secretAccessKey !== undefined && s3.accessKeyId === undefined,
    "storage.s3.accessKeyId",
    "is missing: storage.s3.secretAccessKey is set",
  );
  refuse(
    isS3 && limits.uploadBytes > s3.partSizeBytes * S3_PARTS_MAX,
    "limits.uploadBytes",
    `is more than ${S3_PARTS_MAX} parts of storage.s3.partSizeBytes (${showSize(s3.partSizeBytes)}): raise the part size or lower the limit`,
  );
  refuse(
    isS3 && s3.uploadMemoryBytes < s3.partSizeBytes,
    "storage.s3.uploadMemoryBytes",
    `is less than one part (storage.s3.partSizeBytes, ${showSize(s3.partSizeBytes)})`,
  );
  refuse(
    limits.manifestMemoryBytes < limits.manifestBytes,
    "limits.manifestMemoryBytes",
    `is less than one manifest (limits.manifestBytes, ${showSize(limits.manifestBytes)})`,
  );
  refuse(limits.chunkMinBytes > limits.uploadBytes, "limits.chunkMinBytes", "is more than limits.uploadBytes");
  refuse(
    database.url !== undefined && auth.secretKey === undefined,
    "auth.secretKey",
    "is missing: with database.url every replica needs the same one; make it with `openssl rand -base64 32`",
  );
  const listeners = [
    ["http.listen", http.listen],
    ["http.adminListen", http.adminListen],
    ["metrics.listen", metrics.listen],
  ] as const;
  for (const [at, [setting, own]] of listeners.entries()) {
    const other = listeners
      .slice(0, at)
      .find(
        ([, address]) =>
          own !== undefined && own.port !== 0 && address !== undefined && showListenAddress(own) === showListenAddress(address),
      );
    refuse(other !== undefined, setting, `is the same address as ${other?.[0]}`);
  }
  found.push(...findOidcProblems(auth.oidc));
  for (const [name, directory] of Object.entries(auth.ldap)) refuseDirectory(`auth.ldap.${name}`, directory, refuse);
  return found;
}

/** Contradictions of one directory. */
function refuseDirectory(
  path: string,
  { urls, plain, bindDn, bindPassword, groups, signIn, roles }: Config["auth"]["ldap"][string],
  refuse: (isWrong: boolean, setting: string, problem: string) => void,
): void {
  refuse(bindDn !== undefined && bindPassword === undefined, `${path}.bindPassword`, `is missing: ${path}.bindDn is set`);
  refuse(bindDn === undefined && bindPassword !== undefined, `${path}.bindDn`, `is missing: ${path}.bindPassword is set`);
  refuse(plain && urls.every((url) => url.startsWith("ldaps:")), `${path}.plain`, "is set, but all addresses are ldaps://");
  const needsGroups = signIn.groups.length > 0 || signIn.makesGroups || Object.values(roles).some((group) => group !== undefined);
  const hasNone = groups.from !== "memberOf" && groups.base === undefined;
  refuse(hasNone && needsGroups, `${path}.groups.base`, "is missing: nobody would be in any group");
}
