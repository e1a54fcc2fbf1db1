// The error of a deletion that failed for some of its keys: which they are, so that the others are done with.
import { RegistryError } from "@berth/oci/errors";

/** Some of what was to be deleted is still there, or may be; everything else is gone durably. */
export class PartialDeletion extends RegistryError {
  /** Keys, or a bucket's names of objects. */
  readonly kept: ReadonlySet<string>;

  constructor(kept: Iterable<string>, cause: unknown) {
    super("UNAVAILABLE", { cause });
    this.kept = new Set(kept);
    this.message = `${this.kept.size} of the keys could not be deleted, such as ${this.kept.values().next().value}`;
  }
}
