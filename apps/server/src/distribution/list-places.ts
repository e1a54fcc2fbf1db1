// Where a list goes on that ended before its page was full. Such a place may be behind a name that the reader may not see, so that it is
// sealed. Not here: lists whose pages end behind something that was shown (lists.ts).
import { RegistryError } from "@berth/oci/errors";
import { createSeal } from "../access/seal.ts";

/** Makes places of keys in the order of names, and keys of places. */
export interface ListPlaces {
  /** At most 256 bytes of key; every place has the same length. */
  hide(key: string): string;
  /** The key; what is not hidden is one itself. Errors: PAGE_INVALID for what `hide` did not make. */
  reveal(place: string): string;
}

/** Begins no name, project or tag. */
const MARK = "~";
/** A name of 255 bytes is the longest; behind a shorter one may lie a character of four. */
const KEY_BYTES = 264;

/** Creates the list places. All replicas have the key, so that one goes on with another's list. */
export function createListPlaces(masterKey: Uint8Array): ListPlaces {
  const seal = createSeal(masterKey, "list place v1");
  return {
    // The length would tell something of the name.
    hide: (key) => MARK + seal.seal(key + " ".repeat(KEY_BYTES - Buffer.byteLength(key)), MARK),
    reveal(place) {
      if (!place.startsWith(MARK)) return place;
      try {
        return seal.open(place.slice(MARK.length), MARK).trimEnd();
      } catch (cause) {
        throw new RegistryError("PAGE_INVALID", { detail: { last: place.slice(0, 50) }, cause });
      }
    },
  };
}
