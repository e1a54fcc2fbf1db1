// The operations on directories, joined to their rules. Not here: the rules (directories.ts).
import * as operations from "@berth/api/directories";
import { type ApiRoute, route } from "../api-route.ts";
import type { Directories } from "./directories.ts";

/** The routes of directories. */
export function directoryRoutes(directories: Directories): ApiRoute[] {
  return [
    route(operations.listDirectories, ({ query }) => directories.list(query)),
    route(operations.testDirectory, ({ params, body }) => directories.test(params.directory, body)),
  ];
}
