import type { Clock, Moment } from "./clock.ts";

/** A value that held until the next entry of the timeline. */
interface Entry<T> {
  value: T;
  /** Since when it may have held, and since when it surely did. */
  from: Moment;
  sure: Moment;
  /** How long copies of the previous entry may still be used, by `Date`, in milliseconds. */
  graceMs: number;
}

/** A value that somebody began to store. It may hold from then on, until the outcome is known. */
export interface Announced<T> {
  value: T;
  from: Moment;
  until: Moment | undefined;
}

/** Which value held when: the settings of a channel, or the configuration of an auth database. */
export class Timeline<T> {
  readonly #clock: Clock;
  readonly #entries: Entry<T>[] = [];
  readonly #announced: Announced<T>[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get latest(): T | undefined {
    return this.#entries.at(-1)?.value;
  }

  note(value: T, from: Moment, sure: Moment, graceMs: number): void {
    this.#entries.push({ value, from, sure, graceMs });
  }

  announce(value: T): Announced<T> {
    const announced: Announced<T> = { value, from: this.#clock.moment(), until: undefined };
    this.#announced.push(announced);
    return announced;
  }

  /** All values that may have decided something that happened between two moments. */
  plausible(from: Moment, to: Moment): T[] {
    const held = this.#entries.filter((entry, index) => this.#mayHold(entry, this.#entries[index + 1], from, to));
    const announced = this.#announced.filter(
      (value) => value.from.index <= to.index && (value.until === undefined || value.until.index >= from.index),
    );
    return [...held, ...announced].map(({ value }) => value);
  }

  /** All values up to a moment. Used when copies could not be renewed. */
  all(to: Moment): T[] {
    return [...this.#entries, ...this.#announced]
      .filter(({ from }) => from.index <= to.index)
      .map(({ value }) => value);
  }

  #mayHold(entry: Entry<T>, next: Entry<T> | undefined, from: Moment, to: Moment): boolean {
    if (entry.from.index > to.index) return false;
    if (!next || next.sure.index >= from.index) return true;
    if (next.graceMs === 0) return false;
    const near = (wall: number) => this.#clock.showedNear(wall, next.graceMs, entry.from.elapsed, next.sure.elapsed);
    return near(from.wall) || near(to.wall);
  }
}

/** The spans of time in which D1 was faulty. */
export class Troubles {
  readonly #spans: { from: number; to: number }[] = [];

  begin(elapsed: number): void {
    if (this.#spans.at(-1)?.to !== Infinity) this.#spans.push({ from: elapsed, to: Infinity });
  }

  end(elapsed: number): void {
    const last = this.#spans.at(-1);
    if (last) last.to = Math.min(last.to, elapsed);
  }

  /** Whether a span touches the time between two instants. */
  touch(from: number, to: number): boolean {
    return this.#spans.some((span) => span.from <= to && span.to >= from);
  }
}
