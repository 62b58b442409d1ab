import { withDeadline } from "../shared/deadline.ts";

/** The longest time for which a request waits for others during a call. */
const MAX_WAIT_MS = 5;

/** The largest size of a call, in the units of `weigh`. */
const MAX_CALL_CHARACTERS = 1_000_000;

/**
 * The time limit for a request's result. Each request has its own timer, which also shows the runtime that the request
 * is not hung.
 */
const CALL_TIMEOUT_MS = 30_000;

interface Waiter<Item, Outcome> {
  item: Item;
  resolve: (outcome: Outcome) => void;
  reject: (error: unknown) => void;
}

/** Requests that will share a call. The first of them makes the call. */
interface Group<Item, Outcome> {
  waiters: Waiter<Item, Outcome>[];
  weight: number;
  /** Starts the call. */
  start: () => void;
}

/** Makes a call. Returns one outcome per item, in order. */
export type Call<Item, Outcome> = (items: Item[]) => Promise<Outcome[]>;

/**
 * Lets concurrent requests in this isolate share calls to one object.
 *
 * If no call is in progress, a request makes its own call at once. Otherwise requests gather. They share the next call,
 * which starts when the current call ends or after a few milliseconds, so that they do not wait long for a distant
 * object. A call costs the object several times the CPU of its work, and each call is billed.
 *
 * A request must not use objects of another request. So each request waits only for promises of its own, which the
 * runtime allows other requests to resolve, and a call is made by one request with its own stub
 * (https://developers.cloudflare.com/workers/configuration/compatibility-flags/,
 * handle_cross_request_promise_resolution).
 */
export class CallBatcher<Item, Outcome> {
  readonly #weigh: (item: Item) => number;
  /** The groups that wait for their call, by key. */
  readonly #waiting = new Map<string, Group<Item, Outcome>>();
  /** The number of calls in progress, by key. */
  readonly #inProgress = new Map<string, number>();

  constructor(weigh: (item: Item) => number) {
    this.#weigh = weigh;
  }

  /**
   * Returns the outcome of an item, from a call that this or another request makes. Throws what the call throws, or a
   * `DeadlineError` after 30 seconds.
   *
   * @param key Items with the same key share calls.
   * @param call Makes the call, if this request makes it.
   * @param keepAlive Keeps this request running until a promise is settled, even if its client has gone, because other
   *   requests wait for it.
   */
  submit(
    key: string,
    item: Item,
    call: Call<Item, Outcome>,
    keepAlive: (work: Promise<unknown>) => void,
  ): Promise<Outcome> {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
    const waiter = { item, resolve, reject };
    if (!this.#join(key, waiter)) keepAlive(this.#lead(key, waiter, call));
    return withDeadline(CALL_TIMEOUT_MS, promise);
  }

  /** Joins the waiting group, if there is one with room. Returns whether it did. */
  #join(key: string, waiter: Waiter<Item, Outcome>): boolean {
    const group = this.#waiting.get(key);
    const weight = this.#weigh(waiter.item);
    if (!group || group.weight + weight > MAX_CALL_CHARACTERS) return false;
    group.waiters.push(waiter);
    group.weight += weight;
    return true;
  }

  async #lead(key: string, waiter: Waiter<Item, Outcome>, call: Call<Item, Outcome>): Promise<void> {
    const { promise: turn, resolve: start } = Promise.withResolvers<void>();
    const group = { waiters: [waiter], weight: this.#weigh(waiter.item), start };
    if (this.#inProgress.has(key)) {
      this.#waiting.set(key, group);
      await withDeadline(MAX_WAIT_MS, turn).catch(() => {});
      if (this.#waiting.get(key) === group) this.#waiting.delete(key);
    }
    await this.#perform(key, group.waiters, call);
  }

  async #perform(key: string, waiters: Waiter<Item, Outcome>[], call: Call<Item, Outcome>): Promise<void> {
    this.#inProgress.set(key, (this.#inProgress.get(key) ?? 0) + 1);
    try {
      const outcomes = await call(waiters.map(({ item }) => item));
      for (const [index, { resolve }] of waiters.entries()) resolve(outcomes[index] as Outcome);
    } catch (error) {
      for (const { reject } of waiters) reject(error);
    } finally {
      const left = (this.#inProgress.get(key) ?? 1) - 1;
      if (left > 0) this.#inProgress.set(key, left);
      else this.#inProgress.delete(key);
      this.#waiting.get(key)?.start();
    }
  }
}
