import { Blocks } from "./blocks.ts";
import { Clock } from "./clock.ts";
import { D1Gate } from "./d1.ts";
import { Oracle, type Sender } from "./oracle.ts";
import type { Identity } from "./policy.ts";
import { PLACES, type Place, type Who } from "./schedule.ts";
import { LARGE_EXTRAS } from "./contents.ts";

let stages = 0;

/** What all parts of a run share: names that no other run uses, the clock, D1 and the oracle. */
export class Stage {
  readonly clock = new Clock();
  readonly blocks = new Blocks();
  readonly d1 = new D1Gate(this.clock, this.blocks);
  readonly oracle = new Oracle(this.clock);
  /** The name of the auth database, and the first segment of every channel. */
  readonly id: string;
  /** The auth database's `dbo_id`. */
  readonly number: number;
  readonly channels: Record<Place, string>;
  #names = 0;

  constructor(seed: number) {
    stages += 1;
    this.number = stages;
    this.id = `simulation-${seed}-${stages}`;
    this.channels = { room: `${this.id}/room`, hall: `${this.id}/hall/1` };
  }

  /** The pattern whose settings `hall` inherits. */
  get pattern(): string {
    return `${this.id}/hall/*`;
  }

  path(place: Place): string {
    return `/channels/${encodeURIComponent(this.channels[place])}`;
  }

  placeOf(channel: string): Place {
    return PLACES.find((place) => this.channels[place] === channel) ?? "room";
  }

  /** A name that nothing else of this run has. */
  newName(kind: string): string {
    this.#names += 1;
    return `${kind}${this.#names}`;
  }

  identityOf(who: Who): Identity {
    return isUser(who) ? { kind: "user", database: this.id } : { kind: who };
  }

  /** The `client` of a message that a caller publishes by HTTP; null for an API-key client. */
  senderOf(who: Who): Sender {
    if (who === "anonymous") return ANONYMOUS;
    return isUser(who) ? this.user(ROW_IDS[who], EXTRAS[who]) : null;
  }

  user(row_id: number, extras: object = {}): NonNullable<Sender> {
    return { socketId: "", permissions: { dbo_id: this.number, row_id }, extras };
  }
}

export type User = "ann" | "bob";

export const ROW_IDS: Record<User, number> = { ann: 1, bob: 2 };
export const EXTRAS: Record<User, object> = { ann: LARGE_EXTRAS, bob: {} };
export const ANONYMOUS: NonNullable<Sender> = { socketId: "", permissions: { dbo_id: 0, row_id: 0 }, extras: {} };

export function isUser(who: Who): who is User {
  return who === "ann" || who === "bob";
}
