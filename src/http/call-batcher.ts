import { withDeadline } from "../shared/deadline.ts";

/** How long a request waits for others while a call is under way, in milliseconds. */
const MAX_WAIT_MS = 5;

/** How much one call carries, in the units of `weigh`. */
const MAX_CALL_CHARACTERS = 1_000_000;

/** How long a request waits for its result, in milliseconds. Its own timer, it also tells the runtime that it is not hung. */
const CALL_TIMEOUT_MS = 30_000;

interface Waiter<Item, Outcome> {
  item: Item;
  resolve: (outcome: Outcome) => void;
  reject: (error: unknown) => void;
}

/** Requests that will share a call. The first of them makes it. */
interface Group<Item, Outcome> {
  waiters: Waiter<Item, Outcome>[];
  weight: number;
  /** Lets it go. */
  go: () => void;
}

/** Makes the call, with one outcome for each item. */
export type Call<Item, Outcome> = (items: Item[]) => Promise<Outcome[]>;

/**
 * Lets requests that are in this isolate at the same time share a call to the same object.
 *
 * Without a call under way a request makes its own at once. Meanwhile others gather; they go together when the call ends,
 * or after a few milliseconds, so that a distant object is not waited for. An object's call costs several times what its
 * work does, and each is billed.
 *
 * What belongs to one request must not be used by another: so each waits for promises of its own only, which the runtime lets
 * others resolve, and a call is made by a request with its own stub
 * (https://developers.cloudflare.com/workers/configuration/compatibility-flags/, handle_cross_request_promise_resolution).
 */
export class CallBatcher<Item, Outcome> {
  readonly #weigh: (item: Item) => number;
  /** The groups that gather, by what they are for. */
  readonly #gathering = new Map<string, Group<Item, Outcome>>();
  /** How many calls are under way for each. */
  readonly #underWay = new Map<string, number>();

  constructor(weigh: (item: Item) => number) {
    this.#weigh = weigh;
  }

  /**
   * Gets an item its outcome, by a call of its own or of another request's.
   *
   * @param key Items with the same key share calls.
   * @param call Makes a call, should it fall to this request.
   * @param keepAlive Keeps this request running until a promise is settled, though its client has gone: others wait for it.
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

  /** Joins the group that gathers, if there is one with room. */
  #join(key: string, waiter: Waiter<Item, Outcome>): boolean {
    const group = this.#gathering.get(key);
    const weight = this.#weigh(waiter.item);
    if (!group || group.weight + weight > MAX_CALL_CHARACTERS) return false;
    group.waiters.push(waiter);
    group.weight += weight;
    return true;
  }

  async #lead(key: string, waiter: Waiter<Item, Outcome>, call: Call<Item, Outcome>): Promise<void> {
    const { promise: turn, resolve: go } = Promise.withResolvers<void>();
    const group = { waiters: [waiter], weight: this.#weigh(waiter.item), go };
    if (this.#underWay.has(key)) {
      this.#gathering.set(key, group);
      await withDeadline(MAX_WAIT_MS, turn).catch(() => {});
      if (this.#gathering.get(key) === group) this.#gathering.delete(key);
    }
    await this.#perform(key, group.waiters, call);
  }

  async #perform(key: string, waiters: Waiter<Item, Outcome>[], call: Call<Item, Outcome>): Promise<void> {
    this.#underWay.set(key, (this.#underWay.get(key) ?? 0) + 1);
    try {
      const outcomes = await call(waiters.map(({ item }) => item));
      for (const [index, { resolve }] of waiters.entries()) resolve(outcomes[index] as Outcome);
    } catch (error) {
      for (const { reject } of waiters) reject(error);
    } finally {
      const left = (this.#underWay.get(key) ?? 1) - 1;
      if (left > 0) this.#underWay.set(key, left);
      else this.#underWay.delete(key);
      this.#gathering.get(key)?.go();
    }
  }
}
