// The operations on uploads, joined to their rules. Not here: the rules (uploads.ts).
import * as operations from "@berth/api/uploads";
import { type ApiRoute, route } from "../api-route.ts";
import type { OpenUploads } from "./uploads.ts";

/** The routes of uploads. */
export function uploadRoutes(uploads: OpenUploads): ApiRoute[] {
  return [
    route(operations.listUploads, ({ query }) => uploads.list(query)),
    route(operations.cancelUpload, async ({ params }, { caller }) => {
      await uploads.cancel(caller, params.upload);
      return undefined;
    }),
  ];
}
