// Any request to the API, for what has no verb. Not here: the verbs.
import { readFile } from "node:fs/promises";
import { connect } from "../connect.ts";
import { EXIT, Misuse, Stopped } from "../misuse.ts";
import type { Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** Sends it, and prints the answer's body unchanged. */
export async function callRaw(given: Given, streams: Streams): Promise<number> {
  const [method = "", path = ""] = [given.words[0]?.toUpperCase(), given.words[1]];
  if (!METHODS.includes(method)) throw new Misuse(`${given.words[0]} is no method: one of ${METHODS.join(", ")}`);
  const below = path.replace(/^\/api\/v1(?=\/)/, "");
  if (!below.startsWith("/")) throw new Misuse(`${path} is no path: it begins with /, such as /projects`);
  const text = await bodyOf(given.options["body"] as string | undefined, streams);
  const body = text === undefined ? undefined : parse(text);
  const client = await connect(given, streams);
  const ifMatch = given.options["if-match"] as string | undefined;
  const answer = await client.raw({ method, path: below, body, signal: streams.signal, ...(ifMatch !== undefined && { ifMatch }) });
  const shown = await answer.text();
  if (shown !== "") streams.stdout.write(shown.endsWith("\n") ? shown : `${shown}\n`);
  return EXIT.ok;
}

async function bodyOf(given: string | undefined, { stdin }: Streams): Promise<string | undefined> {
  if (given === "-") return (await stdin.toArray()).map(String).join("");
  if (given?.startsWith("@") !== true) return given;
  try {
    return await readFile(given.slice(1), "utf8");
  } catch (error) {
    throw new Stopped(`the body cannot be read: ${(error as Error).message}`);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Misuse(`the body is no JSON: ${(error as Error).message}`);
  }
}
