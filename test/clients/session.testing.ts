// The tests of one client: a Berth for them, and the client signed in as each kind of user, each in a home directory of its own. Not here:
// what is tested.
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ensureTool, skipOrThrow, type ToolName } from "../tools/install.ts";
import { type Berth, startBerth, type User } from "./berth.ts";
import { type Commands, commandsInNewHome } from "./command.ts";

/** A client, and how it signs in. */
export interface Client {
  readonly tool: ToolName;
  /** Further tools that its tests use; without one of them they are skipped. */
  readonly alsoNeeds?: readonly ToolName[];
  /** The arguments that sign a user in; none when the client takes credentials with every command. */
  login?(host: string, user: User): readonly string[];
  /** Starts the daemon that the client speaks to, if it is one of those. */
  daemon?(): Promise<Daemon>;
  /** Put before the arguments of every command. */
  firstArguments?(home: string): readonly string[];
  /** Added to the environment of every command. */
  environment?(home: string): Readonly<Record<string, string>>;
}

/** A daemon that all of a client's users share. */
export interface Daemon {
  /** The arguments that select the daemon, before those of every command. */
  readonly firstArguments: readonly string[];
  stop(): Promise<void>;
}

/** The users that a client is signed in as; `anonymous` is not. */
export type Role = "developer" | "maintainer" | "guest" | "anonymous";

/** A client's means in its tests: a role's function runs the client with these arguments in that user's own home. */
export interface ClientSession extends Record<Role, (args: readonly string[]) => Promise<string>> {
  readonly berth: Berth;
  readonly binary: string;
  readonly homes: Readonly<Record<Role, Commands>>;
  /** The client's daemon, if it has one. */
  readonly daemon: Daemon | undefined;
  /** The path of a folder that does not exist yet, in one that is removed in the end. */
  newFolder(): string;
  end(): Promise<void>;
}

/** One test. */
export interface ClientTest {
  readonly name: string;
  run(session: ClientSession): Promise<void>;
}

/** Declares the tests of one client. A tool that this machine cannot have skips every one of them with the tool's reason. */
export function describeClient(client: Client, tests: readonly ClientTest[]): void {
  describe(`${client.tool} and Berth`, () => {
    let session: ClientSession | undefined;
    let unavailable: unknown;
    before(async () => {
      try {
        session = await openSession(client);
      } catch (error) {
        unavailable = error;
      }
    });
    after(() => session?.end());
    for (const { name, run } of tests) {
      it(name, async (t) => {
        if (session === undefined) return skipOrThrow(t, unavailable);
        await run(session);
      });
    }
  });
}

async function openSession({ tool, alsoNeeds = [], login, daemon, firstArguments, environment }: Client): Promise<ClientSession> {
  for (const each of alsoNeeds) await ensureTool(each);
  const binary = await ensureTool(tool);
  const running = await daemon?.();
  const berth = await startBerth().catch(async (error: unknown) => {
    await running?.stop();
    throw error;
  });
  const homes = {} as Record<Role, Commands>;
  const end = async () => {
    await berth.stop();
    await running?.stop();
    for (const home of Object.values(homes)) await home.end();
  };
  const as = (role: Role) => (args: readonly string[]) => {
    const first = [...(running?.firstArguments ?? []), ...(firstArguments?.(homes[role].home) ?? [])];
    return homes[role].run(binary, ...first, ...args);
  };
  try {
    for (const role of ["developer", "maintainer", "guest", "anonymous"] as const) {
      homes[role] = await commandsInNewHome(`${tool}-${role}`, environment);
      if (role !== "anonymous" && login !== undefined) await as(role)(login(berth.host, berth.users[role]));
    }
  } catch (error) {
    await end();
    throw error;
  }
  let folders = 0;
  return {
    berth,
    binary,
    homes,
    daemon: running,
    developer: as("developer"),
    maintainer: as("maintainer"),
    guest: as("guest"),
    anonymous: as("anonymous"),
    newFolder: () => join(homes.anonymous.home, `folder-${(folders += 1)}`),
    end,
  };
}
