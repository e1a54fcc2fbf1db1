// The configuration: priority of sources, all problems reported at once, units, masking, and no input makes it throw.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import fc from "fast-check";
import { parseMasterKey } from "./access/master-key.ts";
import { MIN_PASSWORD_LENGTH } from "./access/secrets.ts";
import type { Config } from "./config.ts";
import { describeProblems, describeSettings, writeExampleConfig } from "./config-document.ts";
import { type ConfigSources, loadConfig, takeConfigFlags } from "./config-load.ts";
import { environmentName, listSettings } from "./config-names.ts";

interface Given {
  readonly flags?: readonly string[];
  readonly environment?: Record<string, string>;
  readonly files?: Record<string, string>;
}

function sourcesOf({ flags = [], environment = {}, files = {} }: Given): ConfigSources {
  return {
    flags: takeConfigFlags(flags).flags,
    environment,
    directory: "/srv",
    readFile: async (path) => {
      const content = files[path];
      if (content === undefined) throw new Error("no such file");
      return content;
    },
  };
}

async function loadGood(given: Given): Promise<{ config: Config; shown: string }> {
  const result = await loadConfig(sourcesOf(given));
  assert.ok(result.ok, result.ok ? "" : describeProblems(result.problems));
  return { config: result.config, shown: describeSettings(result.settings) };
}

async function loadBad(given: Given): Promise<string[]> {
  const result = await loadConfig(sourcesOf(given));
  assert.ok(!result.ok, "the configuration was accepted");
  return result.problems.map(({ source, message }) => `${source} ${message}`);
}

const withFile = (yaml: string): Given => ({ flags: ["--config", "berth.yaml"], files: { "/srv/berth.yaml": yaml } });

describe("sources", () => {
  it("has defaults for everything, with paths from the working directory", async () => {
    const { config } = await loadGood({});
    assert.deepEqual(config.http.listen, { host: "127.0.0.1", port: 5000 });
    assert.equal(config.data, "/srv/data");
    assert.equal(config.storage.filesystem.directory, "/srv/data/content");
    assert.equal(config.limits.manifestBytes, 4 * 1024 * 1024);
    assert.equal(config.http.publicUrl, undefined);
    assert.deepEqual(config.http.trustedProxies, []);
  });

  it("takes a standard's variable where nothing else says it, and not where it is meant for something else", async () => {
    const environment = {
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318",
      OTEL_TRACES_SAMPLER_ARG: "0.5",
      OTEL_SERVICE_NAME: "images",
    };
    const { config, shown } = await loadGood({ environment });
    assert.deepEqual(
      { ...config.tracing },
      { endpoint: "http://collector:4318/", headers: undefined, sampleRatio: 0.5, serviceName: "images" },
    );
    assert.match(shown, /tracing\.endpoint +http:\/\/collector:4318\/ +OTEL_EXPORTER_OTLP_ENDPOINT/);
    const own = { ...withFile("tracing: { sampleRatio: 1 }"), environment: { ...environment, BERTH_TRACING_ENDPOINT: "http://own/otlp" } };
    assert.deepEqual((await loadGood(own)).config.tracing, {
      endpoint: "http://own/otlp",
      headers: undefined,
      sampleRatio: 1,
      serviceName: "images",
    });
    for (const off of [{ OTEL_SDK_DISABLED: "true" }, { OTEL_TRACES_EXPORTER: "none" }, { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }]) {
      assert.equal((await loadGood({ environment: { ...environment, ...off } })).config.tracing.endpoint, undefined);
    }
    assert.deepEqual(await loadBad({ environment: { OTEL_TRACES_SAMPLER_ARG: "2" } }), [
      'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not "2"',
    ]);
  });

  it("prefers flags to variables, variables to the file, the file to defaults", async () => {
    const layers = {
      flags: ["--config=berth.yaml", "--http.keepAliveSeconds", "4s"],
      environment: { BERTH_HTTP_KEEP_ALIVE_SECONDS: "3s", BERTH_LIMITS_PAGE_SIZE: "3" },
      files: { "/srv/berth.yaml": "http:\n  keepAliveSeconds: 2\nlimits: { pageSize: 2 }\ngc: { batchSize: 2 }\n" },
    };
    const { config, shown } = await loadGood(layers);
    assert.equal(config.http.keepAliveSeconds, 4);
    assert.equal(config.limits.pageSize, 3);
    assert.equal(config.gc.batchSize, 2);
    assert.equal(config.database.maxConnections, 10);
    assert.match(shown, /http\.keepAliveSeconds +4s +--http\.keepAliveSeconds\n/);
    assert.match(shown, /limits\.pageSize +3 +BERTH_LIMITS_PAGE_SIZE\n/);
    assert.match(shown, /gc\.batchSize +2 +berth\.yaml:4\n/);
    assert.match(shown, /database\.maxConnections +10 +default\n/);
  });

  it("knows short names, the file's variable and an empty variable as not set", async () => {
    const { config } = await loadGood({
      flags: ["--listen", ":0", "--data", "/var/berth"],
      environment: { BERTH_CONFIG: "/etc/b.yaml", BERTH_ADMIN_PASSWORD: "correct horse", BERTH_LIMITS_PAGE_SIZE: "" },
      files: { "/etc/b.yaml": "http: { listen: '[::1]:5000' }\nlog:\n" },
    });
    assert.deepEqual(config.http.listen, { host: undefined, port: 0 });
    assert.equal(config.storage.filesystem.directory, "/var/berth/content");
    assert.equal(config.auth.adminPassword, "correct horse");
    assert.equal(config.limits.pageSize, 1000);
  });

  it("gives every setting a flag and a variable of its own", async () => {
    const paths = listSettings().map(([path]) => path);
    assert.ok(paths.length > 50);
    assert.equal(new Set(paths.map(environmentName)).size, paths.length);
    for (const path of paths) {
      const { flags, rest } = takeConfigFlags(["serve", `--${path}`, "x", "--verbose"]);
      assert.deepEqual(flags, [{ name: path, value: "x" }]);
      assert.deepEqual(rest, ["serve", "--verbose"]);
    }
  });

  it("leaves what follows -- and other commands' flags alone", () => {
    assert.deepEqual(takeConfigFlags(["backup", "--output", "x", "--", "--http.listen", "y"]), {
      flags: [],
      rest: ["backup", "--output", "x", "--", "--http.listen", "y"],
    });
  });

  it("reads secrets from files, a higher layer's file over a lower layer's value", async () => {
    const given = {
      flags: ["--config", "berth.yaml"],
      environment: { BERTH_AUTH_ADMIN_PASSWORD_FILE: "/run/secrets/admin" },
      files: { "/srv/berth.yaml": "auth: { adminPassword: from the file }", "/run/secrets/admin": "from a secret\n" },
    };
    const { config, shown } = await loadGood(given);
    assert.equal(config.auth.adminPassword, "from a secret");
    assert.match(shown, /auth\.adminPassword +\*{8} +BERTH_AUTH_ADMIN_PASSWORD_FILE\n/);
    assert.deepEqual(await loadBad({ ...given, files: { "/srv/berth.yaml": "" } }), [
      "BERTH_AUTH_ADMIN_PASSWORD_FILE cannot be read: no such file",
    ]);
  });

  it("reads a real file, and refuses one that is too large or not UTF-8", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "berth-config-"));
    t.after(() => rm(directory, { recursive: true }));
    const load = async (content: string | Uint8Array) => {
      await writeFile(join(directory, "b.yaml"), content);
      return loadConfig({ flags: [{ name: "config", value: "b.yaml" }], environment: {}, directory });
    };
    const good = await load("limits: { pageSize: 7 }");
    assert.ok(good.ok);
    assert.equal(good.config.limits.pageSize, 7);
    for (const content of ["#".repeat(1024 * 1024 + 1), Uint8Array.of(0xff, 0xfe, 0xfd)]) assert.equal((await load(content)).ok, false);
  });

  it("ignores what Kubernetes sets for a Service called berth", async () => {
    await loadGood({
      environment: {
        BERTH_SERVICE_HOST: "10.0.0.1",
        BERTH_SERVICE_PORT: "5000",
        BERTH_SERVICE_PORT_HTTP: "5000",
        BERTH_PORT: "tcp://10.0.0.1:5000",
        BERTH_PORT_5000_TCP: "tcp://10.0.0.1:5000",
        BERTH_PORT_5000_TCP_ADDR: "10.0.0.1",
        BERTH_METRICS_PORT_9090_TCP_PROTO: "tcp",
      },
    });
  });

  it("gives a frozen configuration", async () => {
    const { config } = await loadGood({});
    assert.throws(() => Object.assign(config.http.listen, { port: 1 }), TypeError);
    assert.throws(() => Object.assign(config.http, { keepAliveSeconds: 1 }), TypeError);
  });
});

describe("problems", () => {
  it("come all together, with their places and the nearest names", async () => {
    const problems = await loadBad({
      flags: ["--config", "berth.yaml", "--http.lisen", "x", "--gc.batchSize", "0", "--log.level"],
      environment: { BERTH_HTTP_LISTN: "x", BERTH_LIMITS_MANIFEST_BYTES: "4 parsecs", BERTH_ZZZZZZ: "1" },
      files: {
        "/srv/berth.yaml": "http:\n  keepAlive: 3\nstorage:\n  kind: floppy\n  s3: yes\nlimits: [1]\nauth:\n  tokenLifetimeSeconds: 3s\n",
      },
    });
    assert.deepEqual(problems.toSorted(), [
      "--gc.batchSize must be a whole number from 1 to 10000, not 0",
      "--http.lisen is not a setting; did you mean --http.listen?",
      "--log.level needs a value",
      "BERTH_HTTP_LISTN is not a setting; did you mean BERTH_HTTP_LISTEN?",
      'BERTH_LIMITS_MANIFEST_BYTES must be a size from 16KiB to 64MiB, such as 8MiB, not "4 parsecs"',
      "BERTH_ZZZZZZ is not a setting",
      "berth.yaml:2 http.keepAlive is not a setting; did you mean http.keepAliveSeconds?",
      'berth.yaml:4: storage.kind must be one of filesystem, s3, not "floppy"',
      "berth.yaml:5 storage.s3 must hold settings, one `name: value` a line",
      "berth.yaml:6 limits must hold settings, one `name: value` a line",
      'berth.yaml:8: auth.tokenLifetimeSeconds must be a time from 60s to 1h, such as 90s, 5m or 24h, not "3s"',
    ]);
  });

  it("name a file that cannot be read or is not YAML, a doubled key and a doubled flag", async () => {
    assert.deepEqual(await loadBad({ flags: ["--config", "none.yaml"] }), ["--config cannot be read: no such file"]);
    assert.match((await loadBad(withFile("http: [")))[0] ?? "", /^berth\.yaml:1 is not valid YAML/);
    assert.match((await loadBad(withFile("log:\n  level: info\n  level: warn\n")))[0] ?? "", /^berth\.yaml:3 is not valid YAML: .*unique/);
    assert.deepEqual(await loadBad({ flags: ["--listen", ":1", "--http.listen", ":2"] }), ["--http.listen is given more than once"]);
    assert.deepEqual(await loadBad({ environment: { BERTH_LISTEN: ":1", BERTH_HTTP_LISTEN: ":1" } }), [
      "BERTH_LISTEN says the same as BERTH_HTTP_LISTEN: keep one",
    ]);
  });

  it("find settings that contradict each other", async () => {
    const cases: [string, string][] = [
      ["http: { tls: { certificateFile: a.pem } }", "http.tls.keyFile is missing: http.tls.certificateFile is set"],
      ["http: { tls: { keyFile: a.pem } }", "http.tls.certificateFile is missing: http.tls.keyFile is set"],
      ["storage: { kind: s3 }", "storage.s3.bucket is missing: storage.kind is s3"],
      ["storage: { s3: { bucket: abc } }", "storage.s3.bucket is set, but storage.kind is filesystem: set storage.kind to s3"],
      ["storage: { redirect: always }", "storage.redirect cannot be always: only storage.kind s3 has signed addresses"],
      ["storage: { s3: { accessKeyId: a } }", "storage.s3.secretAccessKey is missing: storage.s3.accessKeyId is set"],
      ["storage: { s3: { secretAccessKey: a } }", "storage.s3.accessKeyId is missing: storage.s3.secretAccessKey is set"],
      [
        "storage: { kind: s3, s3: { bucket: abc, partSizeBytes: 5MiB } }",
        "limits.uploadBytes is more than 9000 parts of storage.s3.partSizeBytes (5MiB): raise the part size or lower the limit",
      ],
      [
        "storage: { kind: s3, s3: { bucket: abc, uploadMemoryBytes: 8MiB } }",
        "storage.s3.uploadMemoryBytes is less than one part (storage.s3.partSizeBytes, 16MiB)",
      ],
      [
        "http: { publicUrl: 'https://reg.example' }\nstorage: { kind: s3, redirect: always, s3: { bucket: abc, endpoint: 'https://reg.example:9000' } }",
        "storage.s3.publicEndpoint has the host name of http.publicUrl or one below it: clients would send the registry's tokens to the S3 service; give it another name, or set storage.redirect to never",
      ],
      ["limits: { chunkMinBytes: 2MiB, uploadBytes: 1MiB }", "limits.chunkMinBytes is more than limits.uploadBytes"],
      ["metrics: { listen: '127.0.0.1:5000' }", "metrics.listen is the same address as http.listen"],
    ];
    for (const [yaml, problem] of cases) assert.deepEqual(await loadBad(withFile(yaml)), [problem]);
    const [shared] = await loadBad(withFile("database: { url: 'postgres://u:p@h/d' }"));
    assert.match(shared ?? "", /^auth\.secretKey is missing/);
    assert.match(
      (await loadBad({ environment: { BERTH_DATABASE_URL: "postgres://u@h/d", BERTH_DATABASE_URL_FILE: "/x" } }))[0] ?? "",
      /^BERTH_DATABASE_URL_FILE and BERTH_DATABASE_URL are both set/,
    );
  });

  it("never show a secret", async () => {
    const secret = "hunter2hunter2\u0007";
    const shown = (
      await Promise.all([
        loadBad({ environment: { BERTH_ADMIN_PASSWORD: secret } }),
        loadBad({ environment: { BERTH_AUTH_SECRET_KEY: "hunter2hunter2" } }),
        loadBad({ environment: { BERTH_DATABASE_URL: "mysql://root:hunter2hunter2@host/x" } }),
        loadBad(withFile("auth: { secretKey: [hunter2hunter2] }")),
      ])
    ).flat();
    assert.equal(shown.length, 4);
    for (const line of shown) assert.ok(!line.includes("hunter2"), line);
  });
});

describe("values", () => {
  const read = async (path: string, written: string) => {
    const { config } = await loadGood({ flags: [`--${path}=${written}`] });
    return path.split(".").reduce<unknown>((part, name) => (part as Record<string, unknown>)[name], config);
  };

  it("has units for sizes and times", async () => {
    for (const [written, bytes] of [
      ["65536", 65_536],
      ["8MiB", 8_388_608],
      ["1.5 MiB", 1_572_864],
      ["8mb", 8_000_000],
      ["16KiB", 16_384],
    ] as const) {
      assert.equal(await read("limits.manifestBytes", written), bytes);
    }
    for (const [written, seconds] of [
      ["90", 90],
      ["90s", 90],
      ["5m", 300],
      ["1h30m", 5400],
      ["1.5h", 5400],
      ["1d", 86_400],
    ] as const) {
      assert.equal(await read("limits.uploadAgeSeconds", written), seconds);
    }
    for (const wrong of ["", "-1", "8XiB", "1e9", "0x10", "MiB", "NaN", "Infinity"]) {
      assert.equal((await loadBad({ flags: [`--limits.manifestBytes=${wrong}`] })).length, 1, wrong);
      assert.equal((await loadBad({ flags: [`--limits.uploadAgeSeconds=${wrong}`] })).length, 1, wrong);
    }
  });

  it("checks addresses, origins, networks and truth values", async () => {
    assert.deepEqual(await read("http.listen", "[::1]:80"), { host: "::1", port: 80 });
    assert.equal(await read("http.publicUrl", "https://r.example.com/"), "https://r.example.com");
    assert.deepEqual(await read("http.trustedProxies", "10.0.0.0/8, ::1"), ["10.0.0.0/8", "::1"]);
    assert.equal(await read("storage.s3.forcePathStyle", "true"), true);
    assert.deepEqual((await loadGood(withFile("http: { trustedProxies: [10.0.0.0/8] }"))).config.http.trustedProxies, ["10.0.0.0/8"]);
    for (const wrong of [
      "--http.listen=5000",
      "--http.listen=[1.2.3.4]:5",
      "--http.listen=h:65536",
      "--http.publicUrl=https://x/y",
      "--http.publicUrl=ftp://x",
      "--http.trustedProxies=10.0.0.0/33",
      "--http.trustedProxies=proxy",
      "--storage.s3.forcePathStyle=yes",
    ]) {
      assert.equal((await loadBad({ flags: [wrong] })).length, 1, wrong);
    }
  });

  it("masks secrets, and only the password of a database's address", async () => {
    const { config, shown } = await loadGood({
      environment: {
        BERTH_DATABASE_URL: "postgres://berth:hunter2@db:5432/berth?sslpassword=hunter2",
        BERTH_AUTH_SECRET_KEY: "hunter2-hunter2-hunter2-hunter2-hunter2-abc",
      },
    });
    assert.match(config.database.url ?? "", /hunter2/);
    assert.ok(!shown.includes("hunter2"), shown);
    assert.match(shown, /postgres:\/\/berth:\*+@db:5432\/berth/);
  });

  it("takes the administrator's password from the length on from which the start takes it", async () => {
    const given = (length: number): Given => ({ flags: ["--auth.adminPassword", "x".repeat(length)] });
    assert.match((await loadBad(given(MIN_PASSWORD_LENGTH - 1))).join(), /at least 10 characters/);
    assert.equal((await loadGood(given(MIN_PASSWORD_LENGTH))).config.auth.adminPassword?.length, MIN_PASSWORD_LENGTH);
  });

  it("takes a secret key exactly where the start can read it", async () => {
    const bytes = Buffer.alloc(32, 7);
    const base64 = bytes.toString("base64");
    const keys = [
      bytes.toString("hex"),
      base64,
      base64.slice(0, 43),
      bytes.toString("base64url"),
      "x".repeat(40),
      `${base64}=`,
      "0".repeat(63),
    ];
    for (const key of keys) {
      const result = await loadConfig(sourcesOf({ flags: ["--auth.secretKey", key] }));
      if (result.ok) assert.equal(parseMasterKey(key).length, bytes.length);
      else assert.throws(() => parseMasterKey(key), key);
    }
    assert.match((await loadBad({ flags: ["--auth.secretKey", "x".repeat(40)] })).join(), /32 bytes in hexadecimal or base64/);
  });

  it("never throws: any input gives a configuration or problems", async () => {
    const paths = listSettings().map(([path]) => path);
    const word = fc.oneof(
      fc.string(),
      fc.string({ unit: "binary" }),
      fc.constantFrom("true", "8MiB", "5m", "a:1", "https://x", "*a", "&a [*a]", "__proto__"),
    );
    const name = fc.oneof(fc.constantFrom(...paths, "config", "constructor", "__proto__.x"), word);
    const yaml = fc.oneof(
      word,
      fc.array(fc.tuple(name, word)).map((pairs) => pairs.map(([key, value]) => `${key.replaceAll(".", ":\n  ")}: ${value}`).join("\n")),
      fc.json(),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(name, fc.option(word, { nil: undefined }))),
        fc.dictionary(name.map(environmentName), word),
        yaml,
        async (flags, environment, file) => {
          const result = await loadConfig({
            flags: [{ name: "config", value: "f" }, ...flags.map(([flag, value]) => ({ name: flag, value }))],
            environment,
            directory: "/srv",
            readFile: async () => file,
          });
          if (result.ok) assert.ok(Object.isFrozen(result.config) && describeSettings(result.settings).length > 0);
          else assert.ok(result.problems.length > 0 && describeProblems(result.problems).length > 0);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("the example file", () => {
  it("says nothing new as it is, and says the defaults when every setting is uncommented", async () => {
    const example = writeExampleConfig();
    const { config: plain } = await loadGood({});
    assert.deepEqual((await loadGood(withFile(example))).config, plain);
    const uncommented = example.replaceAll(/^( *)# (\w+:(?: \S+)?)$/gm, "$1$2");
    const { config, shown } = await loadGood(withFile(uncommented));
    assert.deepEqual({ ...config, writtenAt: plain.writtenAt }, plain);
    const fromFile = shown.split("\n").filter((line) => /berth\.yaml:\d+$/.test(line)).length;
    assert.equal(fromFile, listSettings().filter(([, setting]) => setting.standard !== undefined).length);
  });
});
