// Builds the OpenAPI 3.1 document from the operations. Pure. Not here: writing it (tools/generate-openapi.ts) and serving it (the server).
import { ERROR_ROWS, type ErrorCode } from "@berth/oci/errors";
import { API_ERROR_ROWS, type ApiErrorCode } from "./errors.ts";
import { API_PREFIX, BODY_ERRORS, COMMON_ERRORS, type Operation, REVISION_ERRORS, STREAM_TYPES } from "./operation.ts";
import { Job, JobWithLines } from "./jobs.ts";
import { isForAnonymous, whoMay } from "./permissions.ts";
import { Member, Project } from "./projects.ts";
import { Robot, RobotScope, RobotWithSecret } from "./robots.ts";
import { Setting } from "./settings.ts";
import { Me, User } from "./users.ts";

type Json = Record<string, unknown>;

// Schemas with a name of their own; the document refers to them wherever they occur.
const NAMED: Readonly<Record<string, object>> = {
  Project,
  Member,
  User,
  Me,
  Robot,
  RobotScope,
  RobotWithSecret,
  Job,
  JobWithLines,
  Setting,
};

/** Ways to say who calls: one of them. */
const SIGNED_IN: Json[] = [{ basic: [] }, { bearer: [] }];

const ERROR_BODY: Json = {
  type: "object",
  required: ["errors"],
  additionalProperties: false,
  properties: {
    errors: {
      type: "array",
      minItems: 1,
      items: {
        type: "object",
        required: ["code", "message"],
        additionalProperties: false,
        properties: {
          code: { type: "string", description: "Says what went wrong to programs." },
          message: { type: "string", description: "Says what went wrong to people." },
          detail: { description: "More about it, by code." },
        },
      },
    },
  },
};

/** The document for these operations. Every value in it is plain JSON, in a fixed order. */
export function buildOpenApi(operations: readonly Operation[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    const item = (paths[operation.path] ??= {});
    item[operation.method.toLowerCase()] = describe(operation);
  }
  const document: Json = {
    openapi: "3.1.1",
    info: { title: "Berth control plane", version, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    servers: [{ url: API_PREFIX }],
    security: SIGNED_IN,
    // In an order that does not depend on whose routes come first.
    tags: [...new Set(operations.map((operation) => operation.tag))].toSorted().map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        basic: { type: "http", scheme: "basic", description: "A user's name and password, or a robot's login name and secret." },
        bearer: { type: "http", scheme: "bearer", description: "A personal token, as it is shown when it is created." },
      },
      schemas: {
        Errors: ERROR_BODY,
        ...Object.fromEntries(Object.entries(NAMED).map(([name, schema]) => [name, refer(schema, name)])),
      },
    },
  };
  return JSON.parse(JSON.stringify(document)) as Json;
}

function describe(operation: Operation): Json {
  const codes: (ApiErrorCode | ErrorCode)[] = [
    ...new Set([...operation.errors, ...COMMON_ERRORS, ...(operation.body === undefined ? [] : BODY_ERRORS)]),
  ];
  if (operation.method !== "GET")
    codes.push("CROSS_SITE_REFUSED", operation.revision === "write" ? REVISION_ERRORS[0] : "PRECONDITION_UNSUPPORTED");
  if (operation.stream !== undefined) codes.push("NOT_ACCEPTABLE");
  return {
    operationId: operation.id,
    tags: [operation.tag],
    summary: operation.summary,
    description: `For ${whoMay(operation.permission)}.`,
    ...(isForAnonymous(operation.permission) ? { security: [{}, ...SIGNED_IN] } : {}),
    parameters: [...parameters(operation.params, "path"), ...parameters(operation.query, "query"), ...headerParameters(operation)],
    ...(operation.body === undefined
      ? {}
      : { requestBody: { required: true, content: { "application/json": { schema: refer(operation.body) } } } }),
    responses: {
      [operation.status]: {
        description: operation.summary,
        ...describeHeaders(operation),
        ...(operation.answer === undefined ? {} : { content: describeContent(operation.answer, operation.stream) }),
      },
      ...(operation.revision === "read" ? { 304: { description: "The resource is still at the revision of If-None-Match." } } : {}),
      ...errorAnswers(codes),
    },
  };
}

function describeContent(answer: unknown, stream: Operation["stream"]): Json {
  if (stream === undefined) return { "application/json": { schema: refer(answer) } };
  // OpenAPI 3.1 cannot describe one item of a stream; the schema is that of one line, or of one event.
  const schema = stream === "events" ? describeEvent(refer(answer)) : refer(answer);
  return Object.fromEntries(STREAM_TYPES[stream].map((type) => [type, type === "text/csv" ? {} : { schema }]));
}

/** Source: OpenAPI 3.2, Server-Sent Events; HTML, "Interpreting an event stream". */
function describeEvent(data: unknown): Json {
  return {
    type: "object",
    required: ["data"],
    properties: {
      id: { type: "string", description: "For Last-Event-ID." },
      event: { type: "string", description: "The event's kind." },
      data: { type: "string", contentMediaType: "application/json", contentSchema: data },
    },
  };
}

function describeHeaders({ revision, headers = {}, answer }: Operation): Json {
  const all = {
    ...(revision !== undefined && answer !== undefined ? { ETag: "The resource's revision, for If-Match and If-None-Match." } : {}),
    ...headers,
  };
  if (Object.keys(all).length === 0) return {};
  return {
    headers: Object.fromEntries(Object.entries(all).map(([name, description]) => [name, { description, schema: { type: "string" } }])),
  };
}

function headerParameters({ revision, stream }: Operation): Json[] {
  const header = (name: string, description: string): Json => ({
    name,
    in: "header",
    required: false,
    description,
    schema: { type: "string" },
  });
  return [
    ...(revision === "read" ? [header("If-None-Match", "The revision that the client has: 304 where it is still the present one.")] : []),
    ...(revision === "write"
      ? [header("If-Match", "The revision that the client saw: 412, and no change, where it is not the present one.")]
      : []),
    ...(stream === "events" ? [header("Last-Event-ID", "The last event that the client has: the stream goes on after it.")] : []),
  ];
}

function parameters(schema: Operation["params"], place: "path" | "query"): Json[] {
  const required = new Set<string>((schema as { required?: string[] }).required);
  return Object.entries(schema.properties).map(([name, field]) => {
    const { description, ...rest } = field as { description?: string };
    return { name, in: place, required: required.has(name), ...(description === undefined ? {} : { description }), schema: refer(rest) };
  });
}

function errorAnswers(codes: readonly (ApiErrorCode | ErrorCode)[]): Json {
  const byStatus = new Map<number, string[]>();
  for (const code of codes) {
    const row = code in API_ERROR_ROWS ? API_ERROR_ROWS[code as ApiErrorCode] : ERROR_ROWS[code as ErrorCode];
    byStatus.set(row.status, [...(byStatus.get(row.status) ?? []), `${code}: ${row.message}.`]);
  }
  const sorted = [...byStatus].toSorted(([a], [b]) => a - b);
  return Object.fromEntries(
    sorted.map(([status, lines]) => [
      status,
      { description: [...new Set(lines)].join(" "), content: { "application/json": { schema: { $ref: "#/components/schemas/Errors" } } } },
    ]),
  );
}

// Replaces every named schema except `self` by a reference.
function refer(schema: unknown, self?: string): unknown {
  if (typeof schema !== "object" || schema === null) return schema;
  const name = Object.entries(NAMED).find(([, each]) => each === schema)?.[0];
  if (name !== undefined && name !== self) return { $ref: `#/components/schemas/${name}` };
  if (Array.isArray(schema)) return schema.map((each) => refer(each));
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, refer(value)]));
}
