// The control plane as one handler of raw requests: registers the routes of the features on its own Fastify.
// Not here: what routes have in common (register-api.ts), their rules (features/).
import type { IncomingMessage, ServerResponse } from "node:http";
import { ApiError } from "@berth/api/errors";
import { API_PREFIX } from "@berth/api/operation";
import { RegistryError } from "@berth/oci/errors";
import { fastify } from "fastify";
import type { Authenticator } from "../../access/authenticate.ts";
import type { Authorizer } from "../../access/authorize.ts";
import { accountRoutes } from "../../features/accounts/account-routes.ts";
import { auditRoutes } from "../../features/audit/audit-routes.ts";
import type { ProjectCreation } from "../../access/judge.ts";
import { createProve } from "../../features/api-route.ts";
import type { Features } from "../../features/features.ts";
import { deletionRoutes } from "../../features/deletions/deletion-routes.ts";
import { explainRoutes } from "../../features/explain/explain-routes.ts";
import { jobRoutes } from "../../features/jobs/job-routes.ts";
import { manifestRoutes } from "../../features/manifests/manifest-routes.ts";
import { searchRoutes } from "../../features/search/search-routes.ts";
import { settingRoutes } from "../../features/settings/setting-routes.ts";
import { networkRoutes } from "../../features/networks/network-routes.ts";
import { projectRoutes } from "../../features/projects/project-routes.ts";
import { repositoryRoutes } from "../../features/repositories/repository-routes.ts";
import { groupRoutes } from "../../features/groups/group-routes.ts";
import { robotRoutes } from "../../features/robots/robot-routes.ts";
import { directoryRoutes } from "../../features/directories/directory-routes.ts";
import { issuerRoutes } from "../../features/issuers/issuer-routes.ts";
import { trustRoutes } from "../../features/trust/trust-routes.ts";
import { sessionRoutes } from "../../features/sessions/session-routes.ts";
import { tokenRoutes } from "../../features/tokens/token-routes.ts";
import { webhookRoutes } from "../../features/webhooks/webhook-routes.ts";
import { uploadRoutes } from "../../features/uploads/upload-routes.ts";
import type { Logger } from "../../platform/log.ts";
import type { RequestSpan } from "../../platform/tracing.ts";
import { VERSION } from "../../platform/version.ts";
import type { RefuseOtherSites } from "../browsers.ts";
import { sendError } from "../error-response.ts";
import type { Transfer } from "../transfer-rate.ts";
import { createRequestRecord, type RequestRecord } from "../request-log.ts";
import type { Party } from "../preemption.ts";
import { checkMethod, createMethodTable } from "../allowed-methods.ts";
import { registerApi } from "./register-api.ts";

/** The parts of the control plane. */
export interface ApiOptions {
  readonly features: Features;
  readonly authorizer: Authorizer;
  readonly authenticator: Authenticator;
  readonly logger: Logger;
  readonly refuseOtherSites: RefuseOtherSites;
  readonly requireOwnPage: RefuseOtherSites;
  readonly isSecure: (request: IncomingMessage) => boolean;
  readonly addressOf: (request: IncomingMessage) => { readonly remoteAddress: string };
  /** Creates the transfer of one body, so that a client that drips it gives way while others wait. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
  /** How long a client of a stream may take nothing. */
  readonly stallMs: number;
  /** Aborted when the server is to stop. */
  readonly stopping: AbortSignal;
  /** Administrators only if it is not given. */
  readonly projectCreation?: () => ProjectCreation;
  /** `BODY_TIMEOUT_MS` where it is not given. */
  readonly bodyTimeoutMs?: number;
}

/** Answers a request outside the data plane; resolves when the answer has been sent or the client has left. */
export type ApiHandler = (request: IncomingMessage, response: ServerResponse, context: ApiRequestContext) => Promise<void>;

interface ApiRequestContext {
  readonly id: string;
  readonly record: RequestRecord;
  readonly party: Party;
  readonly span?: RequestSpan;
}

/** Names are 253 characters at most, each up to three in an address. */
const MAX_PARAM_LENGTH = 800;

/** How long a body may take: it has at most 128 KiB, and its sender has not proved anything yet. */
const BODY_TIMEOUT_MS = 30_000;

const NOTHING_THERE = "nothing is at this address";
/** Methods that the framework knows. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);

/** Builds the control plane. */
export async function createApi(options: ApiOptions): Promise<ApiHandler> {
  const { features, authorizer, authenticator, logger, addressOf, refuseOtherSites, transferOf } = options;
  const bodyTimeoutMs = options.bodyTimeoutMs ?? BODY_TIMEOUT_MS;
  const projectCreation = options.projectCreation ?? (() => "administrators");
  const contexts = new WeakMap<IncomingMessage, ApiRequestContext>();
  const app = fastify({
    logger: false,
    genReqId: (request) => contexts.get(request)?.id ?? "",
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    forceCloseConnections: false,
    // For what the router itself refuses before any of our handlers runs, such as an invalid percent-encoding.
    frameworkErrors(_error, request, reply) {
      reply.hijack();
      sendError(request.raw, reply.raw, new ApiError("OPERATION_UNKNOWN", { message: NOTHING_THERE }));
    },
  });
  app.addHook("onRequest", async (request) => {
    const { url } = request.routeOptions;
    if (url !== undefined) contexts.get(request.raw)?.span?.describe(url, {});
  });
  app.setNotFoundHandler(async (request, reply) => {
    reply.hijack();
    // A registry's address with a slash at its end, followed by a path.
    const why = request.url.split("?", 1)[0]!.includes("//") ? ": it holds a doubled slash, //" : "";
    sendError(request.raw, reply.raw, new ApiError("OPERATION_UNKNOWN", { message: NOTHING_THERE + why }));
    return reply;
  });
  const routes = [
    ...projectRoutes(features.projects),
    ...repositoryRoutes(features.projectRepositories),
    ...manifestRoutes(features.manifests),
    ...deletionRoutes(features.deletions),
    ...uploadRoutes(features.uploads),
    ...accountRoutes(features.users),
    ...groupRoutes(features.groups),
    ...robotRoutes(features.robots),
    ...directoryRoutes(features.directories),
    ...issuerRoutes(features.issuers),
    ...trustRoutes(features.trust),
    ...sessionRoutes(features.sessions),
    ...tokenRoutes(features.tokens),
    ...webhookRoutes(features.webhooks),
    ...networkRoutes(features.networks),
    ...jobRoutes(features.jobs),
    ...auditRoutes(features.audit),
    ...settingRoutes(features.settings),
    ...explainRoutes(features.explain),
    ...searchRoutes(features.search),
  ];
  await registerApi(app, {
    routes,
    prove: createProve(authorizer, projectCreation),
    authenticator,
    logger,
    refuseOtherSites,
    requireOwnPage: options.requireOwnPage,
    isSecure: ({ raw }) => options.isSecure(raw),
    recordOf: (request) => contexts.get(request.raw)?.record ?? createRequestRecord(),
    remoteAddressOf: (request) => addressOf(request.raw).remoteAddress,
    awaitBody: ({ raw }, reply) => {
      const party = contexts.get(raw)?.party;
      if (party === undefined || raw.complete) return;
      const transfer = transferOf("upload");
      party.transfer = transfer;
      transfer.wait(performance.now(), () => refuseLate(raw, reply.raw));
      raw.once("end", () => transfer.moved(performance.now(), 0));
    },
    writeRulesOf: ({ raw }) => {
      const party = contexts.get(raw)?.party;
      const transfer = transferOf("download");
      if (party !== undefined) party.transfer = transfer;
      return { stallMs: options.stallMs, transfer };
    },
    stopping: options.stopping,
    version: VERSION,
  });
  await app.ready();
  const methodsAt = createMethodTable([
    ...routes.map(({ operation: { method, path } }) => ({ method, path: `${API_PREFIX}${path}` })),
    { method: "GET", path: `${API_PREFIX}/openapi.json` },
  ]);
  return (request, response, context) =>
    new Promise((resolve) => {
      // Checked before the framework, which does not know the address of a method that it does not know.
      const path = (request.url ?? "/").split("?", 1)[0]!;
      const methods = methodsAt(path);
      if (methods === undefined && !METHODS.has(request.method ?? "")) throw new ApiError("OPERATION_UNKNOWN", { message: NOTHING_THERE });
      if (methods !== undefined) checkMethod(request.method, methods);
      contexts.set(request, context);
      response.setHeader("x-request-id", context.id);
      const timer = setTimeout(() => {
        if (!request.complete) refuseLate(request, response);
      }, bodyTimeoutMs);
      // "close" comes after "finish" as well, and alone when the client leaves.
      response.once("close", () => {
        clearTimeout(timer);
        resolve();
      });
      // The answer is complete: how long the client takes to read it is the server's concern.
      response.once("prefinish", resolve);
      app.routing(request, response);
    });
}

function refuseLate(request: IncomingMessage, response: ServerResponse): void {
  sendError(request, response, new RegistryError("REQUEST_TIMEOUT", { headers: { connection: "close" } }));
}
