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
  loses: { what: "changes that nobody has reacted to yet, of which all that are recorded today only make upkeep come sooner", content: [] },
  down: () => [`drop table outbox`],
};
