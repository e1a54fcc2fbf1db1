// Verbs on the networks from which projects and robots may be used. Not here: running them (../call.ts).
import { projectNetworks, projectRobotNetworks, registryRobotNetworks } from "@berth/api/networks";
import type { CallVerb, Column, Option } from "../verb.ts";
import { PROJECT, ROBOT } from "./arguments.ts";

const COLUMNS: readonly Column[] = [
  { title: "ALLOWED", of: ({ allow }: { allow: readonly string[] }) => allow.join(" ") || "all others" },
  { title: "DENIED", of: ({ deny }: { deny: readonly string[] }) => deny.join(" ") || "-" },
];
const LISTS: readonly Option[] = [
  {
    name: "allow",
    kind: "texts",
    into: "body.allow",
    value: "NETWORK",
    help: "the only networks from which it may be used, such as 10.0.0.0/8; can be given several times",
  },
  { name: "deny", kind: "texts", into: "body.deny", value: "NETWORK", help: "a network from which it may not; can be given several times" },
];

/** Verbs on networks. */
export const NETWORK_VERBS: readonly CallVerb[] = [
  {
    words: "project networks",
    summary: "Show from where a project may be used",
    operations: [projectNetworks.get],
    arguments: [PROJECT],
    options: [],
    columns: COLUMNS,
  },
  {
    words: "project set-networks",
    summary: "Say from where a project may be used: these lists and no others",
    operations: [projectNetworks.put],
    arguments: [PROJECT],
    options: [...LISTS, { name: "force", kind: "true", into: "body.force", help: "also where that excludes your own address" }],
    columns: COLUMNS,
  },
  {
    words: "project clear-networks",
    summary: "Let a project be used from everywhere",
    operations: [projectNetworks.delete],
    arguments: [PROJECT],
    options: [],
    columns: [],
    destroys: "{} will be open to all networks.",
    done: "{} may be used from everywhere.",
  },
  {
    words: "robot networks",
    summary: "Show from where a robot may be used",
    operations: [projectRobotNetworks.get, registryRobotNetworks.get],
    arguments: [ROBOT],
    options: [],
    columns: COLUMNS,
  },
  {
    words: "robot set-networks",
    summary: "Say from where a robot may be used: these lists and no others",
    operations: [projectRobotNetworks.put, registryRobotNetworks.put],
    arguments: [ROBOT],
    options: LISTS,
    columns: COLUMNS,
  },
  {
    words: "robot clear-networks",
    summary: "Let a robot be used from everywhere",
    operations: [projectRobotNetworks.delete, registryRobotNetworks.delete],
    arguments: [ROBOT],
    options: [],
    columns: [],
    destroys: "{} will be open to all networks.",
    done: "{} may be used from everywhere.",
  },
];
