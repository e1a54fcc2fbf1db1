// What the reading cases find in a registry: one image, one blob of each size. Made once for each registry.
import { Unsupported } from "../case.ts";
import { createContentSource, imageOf, manifestMediaType } from "../content.ts";
import type { Content, Image } from "../content.ts";
import type { Registry } from "../registries.ts";
import { openSession, pathOf, pushBlob, pushImage } from "../registry-session.ts";

/** The repository that everything is read from; `library` is the project that exists from the start in Berth. */
export const readRepository = "library/bench";

/** The sizes that the issue names. */
export const blobSizes = [
  { label: "1KiB", bytes: 1024 },
  { label: "1MiB", bytes: 1024 * 1024 },
  { label: "10MiB", bytes: 10 * 1024 * 1024 },
  { label: "100MiB", bytes: 100 * 1024 * 1024 },
] as const;

/** A small image under the tag `latest` of the read repository. */
export function seedImage(registry: Registry): Promise<Image> {
  return registry.once("image", async () => {
    const session = openSession(registry.endpoint, 1);
    const image = imageOf(createContentSource(64 * 1024)(64 * 1024));
    await pushImage(session, readRepository, "latest", image);
    session.close();
    return image;
  });
}

/** One blob of that size in the read repository. */
export function seedBlob(registry: Registry, size: number): Promise<Content> {
  return registry.once(`blob-${size}`, async () => {
    const session = openSession(registry.endpoint, 1);
    const blob = createContentSource(size)(size);
    await pushBlob(session, readRepository, blob);
    session.close();
    return blob;
  });
}

/** What a GET must have answered before its speed counts. */
export interface Checked {
  readonly path: string;
  readonly authorization: string | undefined;
}

/**
 * Sends one GET and compares every byte, as the fast clients only count. Errors: Unsupported when the registry wants
 * a token and none is to be sent; an error when the bytes are others.
 */
export async function checkedRead(registry: Registry, target: string, content: Content, authorized: boolean): Promise<Checked> {
  const session = openSession(registry.endpoint, 1);
  try {
    const headers = { accept: manifestMediaType };
    const request = { method: "GET", repository: readRepository, target, headers, authorized };
    const answer = await session.request(request, [200, 302, 307, 401]);
    if (answer.status === 401) throw new Unsupported("answers 401 without a token");
    if (answer.status !== 200) throw new Unsupported(`redirects (${answer.status}): its store would be measured`);
    if (!answer.body.equals(Buffer.concat(content.parts))) throw new Error(`${target}: other bytes than were pushed`);
    const authorization = authorized ? await session.authorization(readRepository) : undefined;
    return { path: pathOf(readRepository, target), authorization };
  } finally {
    session.close();
  }
}

/** The current token for a repository, for clients that send fixed headers. */
export async function authorizationFor(registry: Registry, repository: string): Promise<Readonly<Record<string, string>>> {
  const session = openSession(registry.endpoint, 1);
  const header = await session.authorization(repository);
  session.close();
  return header === undefined ? {} : { authorization: header };
}
