import { type Moment, turn } from "./clock.ts";
import type { Place } from "./schedule.ts";
import type { Stage } from "./stage.ts";

/** Turns of the event loop in which nothing happens, after which nothing will unless time passes. */
const QUIET_TURNS = { afterStep: 1, whileWaiting: 3 };
/** Turns after which a timer that is due and does not fire is taken for one of a context that has ended. */
const DEAD_TIMER_TURNS = 30;
/** How long a request may take, in simulated milliseconds. */
export const LONGEST_REQUEST_MS = 31_000;

/** What an operation is about: a request of a client's, one of the API-key client's for administration, or an alarm. */
type Kind = "request" | "administration" | "alarm";

/** Something that was started and may not be finished yet. */
export interface Operation {
  kind: Kind;
  label: string;
  places: readonly Place[];
  from: Moment;
  isDone: boolean;
  /** Whether an object was reset meanwhile: then its answer says nothing. */
  isDisturbed: boolean;
}

/** The operations under way. Waits for conditions, never for a certain time. */
export class Operations {
  readonly #stage: Stage;
  readonly #operations = new Set<Operation>();
  readonly #activityElsewhere: () => number;
  #finished = 0;

  /** @param activityElsewhere A count that grows whenever something happens that only the caller knows. */
  constructor(stage: Stage, activityElsewhere: () => number) {
    this.#stage = stage;
    this.#activityElsewhere = activityElsewhere;
  }

  get pending(): Operation[] {
    return [...this.#operations];
  }

  pendingAt(place: Place): Operation[] {
    return this.pending.filter(({ places }) => places.includes(place));
  }

  /**
   * Starts an operation, and waits for its end unless that needs time to pass.
   *
   * @param take Takes the outcome over, whenever it arrives.
   */
  async start<T>(
    { kind, label, places }: Pick<Operation, "kind" | "label" | "places">,
    work: Promise<T>,
    take: (outcome: T, operation: Operation) => unknown = () => {},
  ): Promise<Operation> {
    const operation = { kind, label, places, from: this.#stage.clock.moment(), isDone: false, isDisturbed: false };
    this.#operations.add(operation);
    void this.#finish(operation, work, take);
    await this.settle(() => operation.isDone);
    return operation;
  }

  /** Reports the operations that should have ended by now. */
  checkPending(): void {
    for (const operation of this.pending) this.#reportLate(operation, `${operation.label} was never answered`);
  }

  /** Waits until a condition holds; returns false if nothing happens any more before it does. */
  async settle(holds: () => boolean, quietTurns = QUIET_TURNS.whileWaiting): Promise<boolean> {
    const { clock, d1, blocks } = this.#stage;
    let [quiet, firing, seen] = [0, 0, this.activity];
    while (!holds()) {
      await turn();
      // Many timers may be due at one instant: each one that fires is activity.
      firing = (clock.isFiring || d1.isAnswering) && this.activity === seen ? firing + 1 : 0;
      const isStuck = firing > DEAD_TIMER_TURNS;
      // The timers of a blocked object fire later.
      if (isStuck && !blocks.isAny) {
        clock.dropDue();
        d1.dropDue();
      }
      const isBusy = this.activity !== seen || d1.isBusy || (firing > 0 && !isStuck);
      seen = this.activity;
      quiet = isBusy ? 0 : quiet + 1;
      if (quiet >= quietTurns) return false;
    }
    return true;
  }

  /** Waits until nothing happens any more. */
  async calm(): Promise<void> {
    await this.settle(() => false, QUIET_TURNS.afterStep);
  }

  async #finish<T>(operation: Operation, work: Promise<T>, take: (outcome: T, operation: Operation) => unknown) {
    const { clock, oracle } = this.#stage;
    const { kind, label, from } = operation;
    try {
      await take(await work, operation);
    } catch (error) {
      if (!operation.isDisturbed) oracle.fail("every request is answered", `${label} failed: ${String(error)}`);
    }
    operation.isDone = true;
    this.#operations.delete(operation);
    this.#finished += 1;
    const took = clock.elapsed - from.elapsed;
    if (kind !== "alarm" && took > LONGEST_REQUEST_MS) this.#reportLate(operation, `${label} took ${took} ms`);
  }

  #reportLate({ kind, from }: Operation, what: string): void {
    const { clock, oracle } = this.#stage;
    if (!oracle.isTroubled(from, clock.moment())) oracle.fail("every request is answered", what);
    else if (kind === "administration") oracle.fail("D1 that hangs delays no administration", what);
    else oracle.fail("D1 that hangs delays no request", what);
  }

  /** Grows whenever something happens. */
  get activity(): number {
    const { clock, d1 } = this.#stage;
    return clock.activity + d1.activity + this.#finished + this.#activityElsewhere();
  }
}
