// The error of a deletion that failed for some of its keys. It names them, so that the others count as deleted.
import { RegistryError } from "@berth/oci/errors";

/** Some of the keys still exist, or may exist; all others are durably deleted. */
export class PartialDeletion extends RegistryError {
  /** Keys, or object names of a bucket. */
  readonly kept: ReadonlySet<string>;

  constructor(kept: Iterable<string>, cause: unknown) {
    super("UNAVAILABLE", { cause });
    this.kept = new Set(kept);
    this.message = `${this.kept.size} of the keys could not be deleted, such as ${this.kept.values().next().value}`;
  }
}
