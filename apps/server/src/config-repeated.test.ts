// Lists and maps of sections, from the file, the environment and flags: their values, the paths in problems, and masked secrets; with a
// schema of this test. Not here: settings that are not repeated, and all real ones (config.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { writeExampleConfig } from "./config-document.ts";
import { flag, httpUrl, integer, listOf, mapOf, optional, required, secret, text } from "./config-kinds.ts";
import { listEffective, readSettings, takeConfigFlags, type FlagValue } from "./config-load.ts";

const SCHEMA = {
  name: text({ standard: "one", about: "A name." }),
  auth: {
    oidc: listOf(
      {
        issuer: required(httpUrl({ about: "Who signs people in." })),
        clientSecret: secret({ about: "Known to the issuer." }),
        claims: { groups: optional(text({ about: "The claim with a person's groups." })) },
      },
      { about: "Who may sign people in." },
    ),
  },
  upstreams: mapOf(
    {
      url: required(httpUrl({ about: "Where it is." })),
      isFast: flag({ standard: "false", about: "Whether it is near." }),
      retries: integer({ standard: "3", min: 0, max: 9, about: "How often." }),
    },
    { about: "Other registries." },
  ),
};

interface Given {
  readonly file?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly flags?: readonly FlagValue[];
  readonly secrets?: Readonly<Record<string, string>>;
}

function read({ file, environment = {}, flags = [], secrets = {} }: Given) {
  return readSettings(
    {
      flags,
      environment: { ...environment, ...(file === undefined ? {} : { BERTH_CONFIG: "/c.yaml" }) },
      directory: "/",
      readFile: async (path) => (path === "/c.yaml" ? file! : secrets[path]!),
    },
    SCHEMA,
  );
}

async function valuesOf(given: Given) {
  const result = await read(given);
  assert.ok(result.ok, JSON.stringify(result));
  return result.values;
}

async function problemsOf(given: Given): Promise<string[]> {
  const result = await read(given);
  assert.ok(!result.ok, "nothing is wrong");
  return result.problems.map(({ source, message }) => `${source} ${message}`);
}

const FILE = `
auth:
  oidc:
    - issuer: https://one.example.com
      clientSecret: first secret
      claims:
        groups: g
    - issuer: https://two.example.com
upstreams:
  docker-hub:
    url: https://registry-1.docker.io
    isFast: true
  quay:
    url: https://quay.io
`;

describe("repeated sections", () => {
  it("are none where nobody gives one", async () => {
    assert.deepEqual(await valuesOf({}), { name: "one", auth: { oidc: [] }, upstreams: {} });
  });

  it("come from the file, in its order", async () => {
    assert.deepEqual(await valuesOf({ file: FILE }), {
      name: "one",
      auth: {
        oidc: [
          { issuer: "https://one.example.com/", clientSecret: "first secret", claims: { groups: "g" } },
          { issuer: "https://two.example.com/", clientSecret: undefined, claims: { groups: undefined } },
        ],
      },
      upstreams: {
        "docker-hub": { url: "https://registry-1.docker.io/", isFast: true, retries: 3 },
        quay: { url: "https://quay.io/", isFast: false, retries: 3 },
      },
    });
  });

  it("come from the environment and from flags, each setting from the highest that gives it", async () => {
    const { flags, rest } = takeConfigFlags(["serve", "--upstreams.docker-hub.retries", "7", "--auth.oidc.1.claims.groups=x"]);
    assert.deepEqual(rest, ["serve"]);
    const values = await valuesOf({
      file: FILE,
      environment: {
        BERTH_AUTH_OIDC_1_ISSUER: "https://second.example.com",
        BERTH_AUTH_OIDC_2_ISSUER: "https://third.example.com",
        BERTH_UPSTREAMS_DOCKER_HUB_RETRIES: "5",
        BERTH_UPSTREAMS_DOCKER_HUB_IS_FAST: "false",
        BERTH_UPSTREAMS_GHCR_URL: "https://ghcr.io",
      },
      flags,
    });
    assert.deepEqual(
      values.auth.oidc.map(({ issuer, claims }) => [issuer, claims.groups]),
      [
        ["https://one.example.com/", "g"],
        ["https://second.example.com/", "x"],
        ["https://third.example.com/", undefined],
      ],
    );
    assert.deepEqual(values.upstreams["docker-hub"], { url: "https://registry-1.docker.io/", isFast: false, retries: 7 });
    assert.equal(values.upstreams["ghcr"]?.url, "https://ghcr.io/");
  });

  it("keep ten and more in order", async () => {
    const environment = Object.fromEntries(
      Array.from({ length: 12 }, (_, at) => [`BERTH_AUTH_OIDC_${at}_ISSUER`, `https://i${at}.example.com`]),
    );
    const { auth } = await valuesOf({ environment });
    assert.deepEqual(
      auth.oidc.map(({ issuer }) => issuer),
      Array.from({ length: 12 }, (_, at) => `https://i${at}.example.com/`),
    );
  });

  it("take secrets from files, and show none", async () => {
    const given: Given = {
      file: FILE,
      environment: { BERTH_AUTH_OIDC_1_CLIENT_SECRET_FILE: "/run/second" },
      secrets: { "/run/second": "second secret\n" },
    };
    assert.deepEqual(
      (await valuesOf(given)).auth.oidc.map(({ clientSecret }) => clientSecret),
      ["first secret", "second secret"],
    );
    const result = await read(given);
    assert.ok(result.ok);
    const shown = listEffective(result.values, result.origins, result.settings).map(({ path, shown: value, source }) =>
      [path, value, source].join(" "),
    );
    assert.doesNotMatch(shown.join("\n"), /secret$|first secret|second secret/m);
    for (const line of [
      "auth.oidc.0.clientSecret ******** c.yaml:5",
      "auth.oidc.1.clientSecret ******** BERTH_AUTH_OIDC_1_CLIENT_SECRET_FILE",
      "upstreams.docker-hub.isFast true c.yaml:12",
      "upstreams.quay.retries 3 default",
    ])
      assert.ok(shown.includes(line), shown.join("\n"));
  });

  it("are reported with their paths where they are wrong, all at once", async () => {
    const problems = await problemsOf({
      file: `
auth:
  oidc:
    - issuer: ftp://x
      isuer: https://y
    - {}
    - clientSecret: ${"x".repeat(10)}
upstreams:
  Docker_Hub:
    url: https://quay.io
  quay:
    retries: 10
`,
      environment: {
        BERTH_AUTH_OIDC_9_ISSUER: "https://nine.example.com",
        BERTH_AUTH_OIDC_X_ISSUER: "https://x",
        BERTH_UPSTREAMS_QUAY_NONE: "1",
      },
      flags: [{ name: "upstreams.q_.url", value: "https://q" }],
    });
    const expected = [
      /c\.yaml:4: auth\.oidc\.0\.issuer must be an address/,
      /c\.yaml:5 auth\.oidc\.0\.isuer is not a setting/,
      /c\.yaml:6 auth\.oidc\.1 holds no settings/,
      /auth\.oidc\.2\.issuer is missing/,
      /c\.yaml:9 upstreams: "Docker_Hub" is no name for a section/,
      /upstreams\.quay\.url is missing/,
      /c\.yaml:12: upstreams\.quay\.retries must be/,
      /BERTH_AUTH_OIDC_X_ISSUER is not a setting/,
      /BERTH_UPSTREAMS_QUAY_NONE is not a setting/,
      /--upstreams\.q_\.url is not a setting/,
      /auth\.oidc\.\d is given, and auth\.oidc\.\d is not: a list has no gaps/,
    ];
    for (const told of expected)
      assert.ok(
        problems.some((each) => told.test(each)),
        `${told.source}\n${problems.join("\n")}`,
      );
  });

  it("refuse a list where there are to be names, and the other way about", async () => {
    assert.match(
      (await problemsOf({ file: "upstreams:\n  - url: https://quay.io\n" })).join(),
      /upstreams must be sections, each under a name/,
    );
    assert.match((await problemsOf({ file: "auth:\n  oidc:\n    issuer: https://one\n" })).join(), /auth\.oidc must be a list of sections/);
    assert.match((await problemsOf({ file: "auth:\n  oidc: yes\n" })).join(), /auth\.oidc must be a list of sections/);
    // Written and left empty, as any section may be.
    assert.deepEqual((await valuesOf({ file: "auth:\n  oidc:\nupstreams:\n" })).auth.oidc, []);
  });

  it("stand in the example as they are written", () => {
    const example = writeExampleConfig(SCHEMA);
    assert.match(example, /# Who may sign people in\. A list of sections\.\n {2}# oidc:\n {2}# {3}-\n/);
    assert.match(example, /# upstreams:\n# {3}NAME:\n/);
    assert.match(example, /# {5}url:\n/);
  });
});
