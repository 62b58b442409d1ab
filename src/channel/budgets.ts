import { type Fault } from "../protocol/errors.ts";
import {
  ADDRESS_BYTES_AT_ONCE,
  ADDRESS_BYTES_PER_SECOND,
  ADDRESS_MESSAGES_AT_ONCE,
  ADDRESS_MESSAGES_PER_SECOND,
  MAX_REMEMBERED_SENDERS,
  SENDER_BYTES_AT_ONCE,
  SENDER_BYTES_PER_SECOND,
  SENDER_MESSAGES_AT_ONCE,
  SENDER_MESSAGES_PER_SECOND,
} from "../protocol/limits.ts";
import { utf8Length } from "../protocol/utf8.ts";
import { Rate } from "./rate.ts";
import { Recent } from "./recent.ts";
import { SERVER_GROUP } from "./sockets.ts";

/** What a sender, or all senders of an address, may send: messages, and bytes of UTF-8 (LIM12). */
interface BudgetLimits {
  messagesPerSecond: number;
  messagesAtOnce: number;
  bytesPerSecond: number;
  bytesAtOnce: number;
}

const SENDER: BudgetLimits = {
  messagesPerSecond: SENDER_MESSAGES_PER_SECOND,
  messagesAtOnce: SENDER_MESSAGES_AT_ONCE,
  bytesPerSecond: SENDER_BYTES_PER_SECOND,
  bytesAtOnce: SENDER_BYTES_AT_ONCE,
};

const ADDRESS: BudgetLimits = {
  messagesPerSecond: ADDRESS_MESSAGES_PER_SECOND,
  messagesAtOnce: ADDRESS_MESSAGES_AT_ONCE,
  bytesPerSecond: ADDRESS_BYTES_PER_SECOND,
  bytesAtOnce: ADDRESS_BYTES_AT_ONCE,
};

class Allowance {
  readonly limits: BudgetLimits;
  readonly #messages: Rate;
  readonly #bytes: Rate;

  constructor(limits: BudgetLimits) {
    this.limits = limits;
    this.#messages = new Rate(limits.messagesPerSecond, limits.messagesAtOnce, Date.now());
    this.#bytes = new Rate(limits.bytesPerSecond, limits.bytesAtOnce, Date.now());
  }

  /** Returns how many of these messages, in order, may be sent now. */
  count(sizes: readonly number[]): number {
    const now = Date.now();
    let [messages, bytes] = [this.#messages.left(now), this.#bytes.left(now)];
    const refused = sizes.findIndex((size) => {
      if (messages < 1 || bytes < 1) return true;
      messages -= 1;
      bytes -= size;
      return false;
    });
    return refused === -1 ? sizes.length : refused;
  }

  charge(size: number): void {
    const now = Date.now();
    this.#messages.take(now);
    this.#bytes.take(now, size);
  }

  /** Returns why nothing may be sent now, undefined if something may. */
  get refusal(): Fault | undefined {
    const now = Date.now();
    const { messagesPerSecond, bytesPerSecond } = this.limits;
    const [messages, bytes] = [this.#messages.take(now, 0), this.#bytes.take(now, 0)];
    if (messages === 0 && bytes === 0) return undefined;
    return bytes > messages
      ? tooMuch("bytes of messages", bytesPerSecond, bytes)
      : tooMuch("messages", messagesPerSecond, messages);
  }
}

function tooMuch(what: string, limit: number, retryAfter: number): Fault {
  const detail = `One sender may send ${limit} ${what} per second to a channel. Send again in ${retryAfter} s.`;
  return { code: "rate-limited", detail, limit, retryAfter };
}

/** What one sender may still send to the channel. An API-key client has no allowance, and may send anything. */
export class SenderBudget {
  readonly #allowances: readonly Allowance[];

  constructor(allowances: readonly Allowance[]) {
    this.#allowances = allowances;
  }

  /** Whether the sender has no limits, so that nothing needs to be measured. */
  get isUnlimited(): boolean {
    return this.#allowances.length === 0;
  }

  /** Returns how many messages of these sizes, in bytes and in order, may be sent now. */
  count(sizes: readonly number[]): number {
    return Math.min(sizes.length, ...this.#allowances.map((allowance) => allowance.count(sizes)));
  }

  /** Takes a message that was sent, by its size in bytes. */
  charge(size: number): void {
    for (const allowance of this.#allowances) allowance.charge(size);
  }

  /** Returns why nothing may be sent now, undefined if something may. */
  get refusal(): Fault | undefined {
    return this.#allowances.map(({ refusal }) => refusal).find((fault) => fault !== undefined);
  }
}

/**
 * The budgets of a channel's senders.
 *
 * A user has one budget, for all sockets and for HTTP. Anonymous clients cannot be told from each other by HTTP, so there an
 * address has one. Over sockets each has its own, so that a school behind one address can chat; and all sockets of an address
 * share a larger one, so that neither many sockets nor new ones bring more.
 */
export class SenderBudgets {
  readonly #senders = new Recent(MAX_REMEMBERED_SENDERS, () => new Allowance(SENDER));
  readonly #addresses = new Recent(MAX_REMEMBERED_SENDERS, () => new Allowance(ADDRESS));
  readonly #sockets = new WeakMap<WebSocket, Allowance>();

  /**
   * Returns the budget for a sender.
   *
   * @param group What the sender's sockets are counted together by.
   * @param socket The socket that it sends over; undefined for HTTP.
   */
  of(group: string, socket?: WebSocket): SenderBudget {
    if (group === SERVER_GROUP) return UNLIMITED;
    if (socket === undefined || group.startsWith("user:")) return new SenderBudget([this.#senders.get(group)]);
    return new SenderBudget([this.#ofSocket(socket), this.#addresses.get(group)]);
  }

  #ofSocket(socket: WebSocket): Allowance {
    const allowance = this.#sockets.get(socket) ?? new Allowance(SENDER);
    this.#sockets.set(socket, allowance);
    return allowance;
  }
}

const UNLIMITED = new SenderBudget([]);

/** Returns how much of a budget a message takes, in bytes: its JSON, and its sender's, which goes with it to each recipient. */
export function sizeOf(payload: string, client: string | null): number {
  return utf8Length(payload) + (client === null ? 0 : utf8Length(client));
}
