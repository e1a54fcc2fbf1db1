// Positions at which a list continues that ended before its page was full. Such a position may be after a name that the reader may not see,
// so it is encrypted. Not here: lists whose pages end after a shown item (lists.ts).
import { RegistryError } from "@berth/oci/errors";
import { createSeal } from "../access/seal.ts";

/** Converts keys in the order of names to positions, and back. */
export interface ListPlaces {
  /** At most 256 bytes of key; every place has the same length. */
  hide(key: string): string;
  /** The key; a position that is not hidden is a key itself. Errors: PAGE_INVALID for text that `hide` did not create. */
  reveal(place: string): string;
}

/** Begins no name, project or tag. */
const MARK = "~";
/** A name of 255 bytes is the longest; a shorter one may be followed by a character of four. */
const KEY_BYTES = 264;

/** Creates the positions. All replicas have the key, so each can continue another's list. */
export function createListPlaces(masterKey: Uint8Array): ListPlaces {
  const seal = createSeal(masterKey, "list place v1");
  return {
    // The length would reveal something about the name.
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
