// `berth explain`: whether somebody may do something, and why, in sentences. Not here: the other verbs (../verbs/).
import { explainAccess, type ExplainedAction, EXPLAINED_ACTIONS, type ExplanationView, REPOSITORY_ACTIONS } from "@berth/api/explain";
import { connect } from "../connect.ts";
import { EXIT, Misuse, suggest } from "../misuse.ts";
import { type OutputForm, printOne } from "../print.ts";
import { plain, printLine, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const SIGNS: Readonly<Record<string, string>> = { allows: "+", refuses: "-", none: " " };

/** Explains; exit code 1 where it is not allowed. */
export async function explain(given: Given, streams: Streams): Promise<number> {
  const { words, options } = given;
  const [action = "", target] = words;
  if (!isAction(action)) throw new Misuse(`${action} is nothing that somebody may do${suggest(action, EXPLAINED_ACTIONS)}`);
  const account = options["account"] as string | undefined;
  const token = options["token"] as string | undefined;
  const query = {
    action,
    ...readTarget(action, target),
    ...(account === undefined ? {} : { account }),
    ...(token === undefined ? {} : { token }),
    ...(options["anonymous"] === true ? { isAnonymous: true } : {}),
  };
  const client = await connect(given, streams);
  const answer = await client.call(explainAccess, { query, signal: streams.signal });
  print(answer, (options["output"] ?? "table") as OutputForm, streams);
  return answer.isAllowed ? EXIT.ok : EXIT.failed;
}

function isAction(text: string): text is ExplainedAction {
  return (EXPLAINED_ACTIONS as readonly string[]).includes(text);
}

/** A repository with a tag or without, or a project. */
function readTarget(action: ExplainedAction, target: string | undefined) {
  if (target === undefined) return {};
  if (!(REPOSITORY_ACTIONS as readonly string[]).includes(action)) return { project: target };
  const colon = target.indexOf(":");
  return colon === -1 ? { repository: target } : { repository: target.slice(0, colon), tag: target.slice(colon + 1) };
}

function print(answer: ExplanationView, form: OutputForm, streams: Streams): void {
  if (form !== "table" && form !== "wide") return printOne(streams, form, [], answer);
  printLine(streams, plain(answer.summary));
  for (const { effect, text, code } of answer.reasons)
    printLine(streams, plain(`  ${SIGNS[effect] ?? " "} ${text}${form === "wide" ? ` [${code}]` : ""}`));
  if (answer.remedies.length > 0) printLine(streams, "What would help, each by itself:");
  for (const remedy of answer.remedies) printLine(streams, plain(`  ${remedy}`));
}
