// The outbox: changes that others are to learn of. Not here: what is in them (events/outbox.ts).
import type { Migration } from "./migration.ts";

export const outbox: Migration = {
  id: 13,
  name: "outbox",
  oldestProgram: 3,
  up: ({ id, integer, text }) => [
    `create table outbox (
      id ${id},
      at ${integer} not null,
      actor ${text} not null,
      change ${text} not null
    )`,
  ],
  // Every change that is recorded today only makes upkeep come sooner. The first that is more makes `outbox` content.
  loses: { what: "changes that wait; what follows from them is asked for anew", content: [] },
  down: () => [`drop table outbox`],
};
