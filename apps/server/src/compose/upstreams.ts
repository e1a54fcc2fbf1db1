// Projects that mirror other registries: what asks upstreams, fetches from them and stores what came. Not here: the upstreams themselves, which
// features bring (ports.ts).
import { createIncomingBlobs, type IncomingBlobs } from "../distribution/incoming-blobs.ts";
import type { BlobReader } from "../distribution/open-blob.ts";
import type { Ports } from "../distribution/ports.ts";
import { createPullThrough, type PullThrough } from "../distribution/pull-through.ts";
import { createUpstreamLists, type UpstreamLists } from "../distribution/upstream-lists.ts";
import { createUpstreamQuestions } from "../distribution/upstream-questions.ts";
import type { Manifests } from "../content/manifests.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { Access } from "./access.ts";
import type { Content } from "./content.ts";
import type { RoleContext } from "./foundation.ts";

/** What pulls go through; undefined where no feature brings an upstream. */
export interface ComposedUpstreams {
  readonly pullThrough: PullThrough | undefined;
  readonly lists: UpstreamLists | undefined;
  readonly incoming: IncomingBlobs;
}

/** What it is built of. */
interface UpstreamParts {
  readonly ports: Ports;
  readonly access: Access;
  readonly content: Content;
  readonly manifests: Manifests;
  readonly reader: BlobReader;
}

/** Composes them. */
export function composeUpstreams(
  { config, logger }: RoleContext,
  metrics: Metrics,
  { ports, access, content, manifests, reader }: UpstreamParts,
): ComposedUpstreams {
  const incoming = createIncomingBlobs({ directory: config.data, maxBlobBytes: config.limits.uploadBytes });
  const { upstreams = [] } = ports;
  if (upstreams.length === 0) return { pullThrough: undefined, lists: undefined, incoming };
  let failures = 0;
  metrics.addCounter("upstream_failures_total", "Questions to upstream registries that got no usable answer.", () => failures);
  metrics.addGauge("upstream_fetches", "Blobs that are being fetched from upstream registries.", () => incoming.running);
  const questions = createUpstreamQuestions({
    upstreams,
    onFailure({ repository, what, error }) {
      failures++;
      logger.warn({ err: error, repository, what }, "an upstream registry gave no usable answer");
    },
  });
  const { repositories, blobs, sessions } = content;
  const pullThrough = createPullThrough({
    questions,
    incoming,
    authorizer: access.systemAuthorizer,
    repositories,
    manifests,
    blobs,
    uploads: sessions,
    reader,
    maxManifestBytes: config.limits.manifestBytes,
    onUnstored: (error, repository, digest) =>
      logger.warn(
        { err: error, repository, digest },
        "what came from an upstream registry could not be stored; who asked for it gets it all the same",
      ),
  });
  return { pullThrough, lists: createUpstreamLists(questions), incoming };
}
