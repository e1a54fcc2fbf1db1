// The verb that searches. Not here: what runs it (../call.ts).
import { search } from "@berth/api/search";
import { timeText } from "../print.ts";
import type { CallVerb } from "../verb.ts";

interface Row {
  readonly project: string;
  readonly repository: string | null;
  readonly tag: string | null;
  readonly digest: string | null;
  readonly pushedAt: string | null;
}

/** The verb. */
export const SEARCH_VERBS: readonly CallVerb[] = [
  {
    words: "search",
    summary: "Search what you may see: names that hold a text, tags and digests that begin with it",
    operations: [search],
    arguments: [{ name: "TEXT", kind: "text", into: "query.text", help: "a part of a name, the beginning of a tag, or of a digest" }],
    options: [{ name: "kind", kind: "text", into: "query.kind", help: "only these" }],
    columns: [
      { title: "KIND", of: "kind" },
      {
        title: "NAME",
        of: ({ project, repository, tag }: Row) => (tag === null ? (repository ?? project) : `${repository}:${tag}`),
      },
      { title: "DIGEST", of: "digest" },
      { title: "PUSHED", of: ({ pushedAt }: Row) => timeText(pushedAt) },
    ],
  },
];
