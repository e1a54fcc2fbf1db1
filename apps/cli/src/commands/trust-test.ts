// Testing an ID token: what it says, what it would become, and which conditions are not met. Not here: the other verbs on trust (../verbs/trust.ts).
import { projectTrust, registryTrust, type TokenTestView } from "@berth/api/trust";
import { readPassword } from "../ask.ts";
import { connect } from "../connect.ts";
import { EXIT } from "../misuse.ts";
import { type OutputForm, printList, printOne } from "../print.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const COLUMNS = [
  { title: "ROBOT", of: "robot" },
  { title: "RULE", of: "rule" },
  { title: "CLAIM", of: "claim" },
  { title: "WANTED", of: "wanted" },
  { title: "FOUND", of: "found" },
  { title: "MET", of: "isMet" },
];
const CLAIM_COLUMNS = [
  { title: "CLAIM", of: "claim" },
  { title: "VALUE", of: "value" },
];

/** Reads a token from standard input, and has it tested; exit code 1 where it becomes nobody. */
export async function testToken(given: Given, streams: Streams): Promise<number> {
  const { words, options } = given;
  const [project] = words;
  const robot = options["robot"] as string | undefined;
  const token = await readPassword(streams, "ID token: ", true);
  const body = { token, ...(robot === undefined ? {} : { robot }) };
  const client = await connect(given, streams);
  const { signal } = streams;
  const tested: TokenTestView =
    project === undefined
      ? await client.call(registryTrust.test, { body, signal })
      : await client.call(projectTrust.test, { params: { project }, body, signal });
  print(tested, (options["output"] ?? "table") as OutputForm, streams);
  return tested.becomes === null ? EXIT.failed : EXIT.ok;
}

function print(tested: TokenTestView, form: OutputForm, streams: Streams): void {
  if (form !== "table" && form !== "wide") {
    printOne(streams, form, [], tested);
    return;
  }
  const { becomes, reason, expiresAt, rules, claims } = tested;
  note(streams, becomes === null ? `It becomes nobody: ${reason}.` : `It becomes ${becomes}, until ${expiresAt}.`);
  const conditions = rules.flatMap(({ robot, rule, conditions: each }) =>
    each.map((condition) => ({ robot, rule, ...condition, found: condition.found.join(" ") || "nothing" })),
  );
  printList(streams, form, COLUMNS, conditions);
  if (form === "wide") printList(streams, form, CLAIM_COLUMNS, claims);
}
