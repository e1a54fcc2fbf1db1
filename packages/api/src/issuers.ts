// Operations on issuers: whose tokens count here in place of a stored secret. Not here: which token becomes which robot (trust.ts), their rules (the
// server's features/issuers).
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, TimeField } from "./fields.ts";
import { LOCATION, operation } from "./operation.ts";

export const IssuerNameField = Type.String({
  pattern: "^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "An issuer's name here.",
});
const UrlField = Type.String({
  minLength: 8,
  maxLength: 512,
  description:
    "The issuer as its tokens name it (iss), such as https://token.actions.githubusercontent.com. Several may have one, each with keys of its own.",
});
const AudiencesField = Type.Array(Type.String({ minLength: 1, maxLength: 512 }), {
  minItems: 1,
  maxItems: 10,
  description: "A token must name one of them (aud). Give one that only this registry has, such as its address.",
});
const AlgorithmField = Type.Enum(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]);
const AlgorithmsField = Type.Array(AlgorithmField, {
  minItems: 1,
  maxItems: 10,
  uniqueItems: true,
  description: "Signatures that count; RS256 and ES256 where it is not given.",
});
const KeysField = Type.String({
  minLength: 2,
  maxLength: 100_000,
  description:
    "A JWK set as JSON text, for issuers that this registry cannot reach: its keys count until others are given, and nothing is fetched.",
});
const SingleUseField = Type.Boolean({
  description: "Whether each token counts once. Such tokens are exchanged at /oauth/token, and are no password for `docker login`.",
});

export const Issuer = closed({
  name: IssuerNameField,
  url: UrlField,
  audiences: Type.Array(Type.String()),
  algorithms: Type.Array(AlgorithmField),
  isDisabled: Type.Boolean(),
  isSingleUse: SingleUseField,
  keys: closed({
    source: Type.Enum(["fetched", "given"]),
    state: Type.Enum(["ready", "aging", "missing"], {
      description: "aging: the issuer has not answered for an hour or more; missing: there are none, or they are too old to count.",
    }),
    ids: Type.Array(Type.String(), { description: "Key ids (kid), as far as keys have one." }),
    count: Type.Integer({ minimum: 0 }),
    updatedAt: Type.Union([TimeField, Type.Null()]),
    triedAt: Type.Union([TimeField, Type.Null()], { description: "When they were last fetched, or that was tried." }),
    error: Type.Union([Type.String(), Type.Null()], { description: "Why the last try failed." }),
  }),
  createdAt: TimeField,
});
/** An issuer. */
export type IssuerView = Static<typeof Issuer>;

export const NewIssuer = closed({
  name: IssuerNameField,
  url: UrlField,
  audiences: AudiencesField,
  algorithms: Type.Optional(AlgorithmsField),
  keys: Type.Optional(KeysField),
  isSingleUse: Type.Optional(SingleUseField),
});
/** What a new issuer is made of. */
export type CreateIssuerBody = Static<typeof NewIssuer>;

export const IssuerUpdate = closed({
  audiences: Type.Optional(AudiencesField),
  algorithms: Type.Optional(AlgorithmsField),
  keys: Type.Optional(Type.Union([KeysField, Type.Null()], { description: "New keys; null to fetch them from the issuer from now on." })),
  isSingleUse: Type.Optional(SingleUseField),
  isDisabled: Type.Optional(Type.Boolean()),
});
/** What can be changed of an issuer. */
export type UpdateIssuerBody = Static<typeof IssuerUpdate>;

const OfIssuer = closed({ issuer: IssuerNameField });
const common = { tag: "issuers", query: Nothing, permission: { kind: "administrator" } } as const;

export const listIssuers = operation({
  ...common,
  id: "listIssuers",
  method: "GET",
  path: "/issuers",
  // Owners name them in the trust rules of their robots.
  permission: { kind: "user" },
  summary: "List the issuers whose tokens count here",
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Issuer),
  errors: ["DENIED"],
});

export const createIssuer = operation({
  ...common,
  id: "createIssuer",
  method: "POST",
  path: "/issuers",
  summary: "Register an issuer of tokens: a CI service, a cluster, a provider; its keys are fetched at once, or given",
  params: Nothing,
  body: NewIssuer,
  status: 201,
  answer: Issuer,
  headers: LOCATION,
  errors: ["DENIED", "ISSUER_EXISTS"],
});

export const getIssuer = operation({
  ...common,
  id: "getIssuer",
  method: "GET",
  path: "/issuers/{issuer}",
  permission: { kind: "user" },
  summary: "Read an issuer, with the state and the age of its keys",
  params: OfIssuer,
  body: undefined,
  status: 200,
  answer: Issuer,
  errors: ["DENIED", "ISSUER_UNKNOWN"],
});

export const updateIssuer = operation({
  ...common,
  id: "updateIssuer",
  method: "PATCH",
  path: "/issuers/{issuer}",
  summary: "Change an issuer's audiences, signatures or keys, or disable it: tokens that were given for its tokens end at once",
  params: OfIssuer,
  body: IssuerUpdate,
  status: 200,
  answer: Issuer,
  errors: ["DENIED", "ISSUER_UNKNOWN"],
});

export const fetchIssuerKeys = operation({
  ...common,
  id: "fetchIssuerKeys",
  method: "POST",
  path: "/issuers/{issuer}/keys",
  summary: "Fetch an issuer's keys now; the answer says what came of it",
  params: OfIssuer,
  body: undefined,
  status: 200,
  answer: Issuer,
  errors: ["DENIED", "ISSUER_UNKNOWN"],
});

export const deleteIssuer = operation({
  ...common,
  id: "deleteIssuer",
  method: "DELETE",
  path: "/issuers/{issuer}",
  summary: "Delete an issuer that no trust rule names",
  params: OfIssuer,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "ISSUER_UNKNOWN", "ISSUER_IN_USE"],
});
