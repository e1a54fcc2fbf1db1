// That each safety line which `npm run test:failure -- --cuts` takes out still stands where the list says, and that its test is still there: a
// line that was renamed would otherwise be found only when all cuts run, which takes hours. Not here: the list (test/failure/cuts/cuts.ts).
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CUTS } from "../test/failure/cuts/cuts.ts";

/** Gives a line for each cut that cannot be made. `root` is the tree's folder. */
export function checkCuts(root: string): string[] {
  const read = (file: string): string => (existsSync(join(root, file)) ? readFileSync(join(root, file), "utf8") : "");
  return CUTS.flatMap(({ what, file, from, test, name }) => {
    const count = read(file).split(from).length - 1;
    const problems = count === 1 ? [] : [`${file}: the text of the cut "${what}" is there ${count} times, not once`];
    // Where a title is made of values, the list holds a part of it that is written in the source.
    if (!read(test).includes(name)) problems.push(`${test}: no test is named "${name}", which the cut "${what}" wants`);
    return problems;
  });
}
