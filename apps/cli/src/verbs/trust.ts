// Verbs on issuers of tokens and on trust rules of robots. Not here: what runs them (../call.ts), the test of a token (../commands/trust-test.ts).
import * as issuers from "@berth/api/issuers";
import { projectTrust, registryTrust } from "@berth/api/trust";
import { testToken } from "../commands/trust-test.ts";
import { timeText } from "../print.ts";
import type { Argument, Column, Option, Verb } from "../verb.ts";
import { ROBOT } from "./arguments.ts";

const ISSUER: Argument = { name: "ISSUER", kind: "text", into: "params.issuer", help: "an issuer's name here" };
const RULE: Argument = { name: "RULE", kind: "text", into: "params.rule", help: "the rule's name" };

interface Keys {
  readonly state: string;
  readonly count: number;
  readonly source: string;
  readonly updatedAt: string | null;
  readonly error: string | null;
}
const ISSUER_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "URL", of: "url" },
  { title: "AUDIENCES", of: ({ audiences }: { audiences: readonly string[] }) => audiences.join(" ") },
  { title: "KEYS", of: ({ keys }: { keys: Keys }) => `${keys.count} ${keys.source}, ${keys.state}` },
  { title: "UPDATED", of: ({ keys }: { keys: Keys }) => (keys.updatedAt === null ? "never" : timeText(keys.updatedAt)) },
  { title: "DISABLED", of: "isDisabled" },
  { title: "ERROR", of: ({ keys }: { keys: Keys }) => keys.error ?? "" },
  { title: "ALGORITHMS", of: ({ algorithms }: { algorithms: readonly string[] }) => algorithms.join(" "), wide: true },
  { title: "SINGLE USE", of: "isSingleUse", wide: true },
];
interface Condition {
  readonly claim: string;
  readonly equals?: string;
  readonly oneOf?: readonly string[];
  readonly matches?: string;
}
function conditionText({ claim, equals, oneOf = [], matches }: Condition): string {
  return matches === undefined ? `${claim}=${equals ?? oneOf.join("|")}` : `${claim}~${matches}`;
}
const RULE_COLUMNS: readonly Column[] = [
  { title: "NAME", of: "name" },
  { title: "ISSUER", of: "issuer" },
  { title: "CONDITIONS", of: ({ conditions }: { conditions: readonly Condition[] }) => conditions.map(conditionText).join(" ") },
  { title: "WARNINGS", of: ({ warnings }: { warnings: readonly { code: string }[] }) => warnings.map(({ code }) => code).join(" ") },
];
const AUDIENCE: Option = {
  name: "audience",
  kind: "texts",
  into: "body.audiences",
  value: "TEXT",
  help: "what its tokens must be for, such as this registry's address; can be given several times",
};
const ALGORITHM: Option = {
  name: "algorithm",
  kind: "texts",
  into: "body.algorithms",
  value: "NAME",
  help: "a signature that counts; RS256 and ES256 where none is given; can be given several times",
};
const KEYS: Option = {
  name: "keys-file",
  kind: "file",
  into: "body.keys",
  value: "FILE",
  help: "a JWK set, for an issuer that the registry cannot reach; - reads standard input",
};
const SINGLE_USE: Option = {
  name: "single-use",
  kind: "true",
  into: "body.isSingleUse",
  help: "each token counts once, and is no password",
};

/** Verbs on issuers and trust rules. */
export const TRUST_VERBS: readonly Verb[] = [
  {
    words: "issuer list",
    summary: "List the issuers whose tokens count, with the state of their keys",
    operations: [issuers.listIssuers],
    arguments: [],
    options: [],
    columns: ISSUER_COLUMNS,
  },
  {
    words: "issuer show",
    summary: "Show an issuer",
    operations: [issuers.getIssuer],
    arguments: [ISSUER],
    options: [],
    columns: ISSUER_COLUMNS,
  },
  {
    words: "issuer create",
    summary: "Register an issuer: a CI service, a cluster, a provider",
    operations: [issuers.createIssuer],
    arguments: [
      { ...ISSUER, into: "body.name" },
      { name: "URL", kind: "text", into: "body.url", help: "the issuer as its tokens name it" },
    ],
    options: [{ ...AUDIENCE, required: true }, ALGORITHM, KEYS, SINGLE_USE],
    columns: ISSUER_COLUMNS,
  },
  {
    words: "issuer update",
    summary: "Change an issuer, or disable it; tokens that were given for its tokens end",
    operations: [issuers.updateIssuer],
    arguments: [ISSUER],
    options: [
      AUDIENCE,
      ALGORITHM,
      KEYS,
      { name: "fetch-keys", kind: "none", into: "body.keys", help: "fetch its keys from now on, in place of those that were given" },
      SINGLE_USE,
      { name: "many-uses", kind: "false", into: "body.isSingleUse", help: "a token counts until it ends" },
      { name: "disable", kind: "true", into: "body.isDisabled", help: "none of its tokens counts" },
      { name: "enable", kind: "false", into: "body.isDisabled", help: "they count again" },
    ],
    columns: ISSUER_COLUMNS,
  },
  {
    words: "issuer refresh",
    summary: "Fetch an issuer's keys now",
    operations: [issuers.fetchIssuerKeys],
    arguments: [ISSUER],
    options: [],
    columns: ISSUER_COLUMNS,
  },
  {
    words: "issuer delete",
    summary: "Delete an issuer that no trust rule names",
    operations: [issuers.deleteIssuer],
    arguments: [ISSUER],
    options: [],
    columns: [],
    destroys: "Delete the issuer {}?",
    done: "The issuer {} is deleted.",
  },
  {
    words: "trust list",
    summary: "List the trust rules of a robot: which tokens become it",
    operations: [projectTrust.list, registryTrust.list],
    arguments: [ROBOT],
    options: [],
    columns: RULE_COLUMNS,
  },
  {
    words: "trust set",
    summary: "Let tokens of an issuer become a robot, or change a rule",
    operations: [projectTrust.put, registryTrust.put],
    arguments: [ROBOT, RULE],
    options: [
      { name: "issuer", kind: "text", into: "body.issuer", help: "the issuer's name: see berth issuer list", required: true },
      {
        name: "claim",
        kind: "claim",
        into: "body.conditions",
        value: "CLAIM=VALUE",
        help: "what a token must say, or CLAIM~PATTERN; can be given several times: all must be met, of one claim one of its values",
        required: true,
      },
      { name: "wide", kind: "true", into: "body.isWide", help: "the rule is meant to name no one project or service account" },
    ],
    columns: RULE_COLUMNS,
  },
  {
    words: "trust delete",
    summary: "Delete a trust rule of a robot; the robot's tokens end",
    operations: [projectTrust.delete, registryTrust.delete],
    arguments: [ROBOT, RULE],
    options: [],
    columns: [],
    destroys: "Delete the trust rule {}?",
    done: "The trust rule {} is deleted.",
  },
  {
    words: "trust test",
    summary: "Say which robot an ID token from standard input would become, or why none",
    operations: [projectTrust.test, registryTrust.test],
    arguments: [
      { name: "PROJECT", kind: "text", optional: true, help: "whose robots; administrators: all of the registry where it is not given" },
    ],
    commandOptions: [{ name: "robot", value: "ROBOT", help: "PROJECT+NAME, where the client names one" }],
    run: testToken,
  },
];
