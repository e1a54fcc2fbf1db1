// Checks that each safety line which `npm run test:failure -- --cuts` removes still exists where the list says, and that its test exists: a
// renamed line would otherwise be found only when all cuts run, which takes hours. Not here: the list (test/failure/cuts/cuts.ts).
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CUTS } from "../test/failure/cuts/cuts.ts";

/** Returns a line for each cut that cannot be made. `root` is the tree's folder. */
export function checkCuts(root: string): string[] {
  const read = (file: string): string => (existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : "");
  return CUTS.flatMap(({ what, file, from, test, name }) => {
    const count = read(file).split(from).length - 1;
    const problems = count === 1 ? [] : [`${file}: the text of the cut "${what}" is there ${count} times, not once`];
    // If a title is built from values, the list has a part of it that is written in the source.
    if (!read(test).includes(name)) problems.push(`${test}: no test is named "${name}", which the cut "${what}" wants`);
    return problems;
  });
}
