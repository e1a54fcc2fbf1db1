// The operations on tags and manifests, joined to their rules. Not here: the rules (manifests.ts).
import * as operations from "@berth/api/manifests";
import type { Digest } from "@berth/oci/digest";
import type { Tag } from "@berth/oci/reference";
import { type ApiRoute, route } from "../api-route.ts";
import type { RepositoryManifests } from "./manifests.ts";

/** The routes of tags and manifests. */
export function manifestRoutes(manifests: RepositoryManifests): ApiRoute[] {
  return [
    route(operations.listTags, ({ query }, { grant }) => manifests.listTags(grant, query)),
    route(operations.listTagHistory, ({ params, query }, { grant }) => manifests.listTagHistory(grant, params.tag, query)),
    route(operations.deleteTag, async ({ params }, { caller, grant }) => {
      await manifests.delete(caller, grant, { kind: "tag", tag: params.tag as Tag });
      return undefined;
    }),
    route(operations.listManifests, ({ query }, { grant }) => manifests.list(grant, query)),
    route(operations.getManifest, ({ params }, { caller, grant }) => manifests.get(caller, grant, params.reference)),
    route(operations.getManifestContent, ({ params }, { grant }) => manifests.getContent(grant, params.reference)),
    route(operations.deleteManifest, async ({ params }, { caller, grant }) => {
      await manifests.delete(caller, grant, { kind: "digest", digest: params.reference as Digest });
      return undefined;
    }),
  ];
}
