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
import { Rate } from "../shared/rate.ts";
import { Recent } from "../shared/recent.ts";
import { SERVER_GROUP } from "./sockets.ts";

/** The limits of one sender, or of all senders of an address: messages, and bytes of UTF-8 (LIM12). */
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

  /** Returns the refusal of further messages, undefined if one may be sent now. */
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
  const detail = `A sender may send ${limit} ${what} per second to a channel. Try again in ${retryAfter} s.`;
  return { code: "rate-limited", detail, limit, retryAfter };
}

/** What one sender may still send to the channel. An API-key client has no limits. */
export class SenderBudget {
  readonly #allowances: readonly Allowance[];

  constructor(allowances: readonly Allowance[]) {
    this.#allowances = allowances;
  }

  /** Whether the sender has no limits, so that callers need not measure messages. */
  get isUnlimited(): boolean {
    return this.#allowances.length === 0;
  }

  /** Returns how many messages of these sizes, in bytes and in order, may be sent now. */
  count(sizes: readonly number[]): number {
    return Math.min(sizes.length, ...this.#allowances.map((allowance) => allowance.count(sizes)));
  }

  /**
   * Charges a message that was sent.
   *
   * @param size In bytes.
   */
  charge(size: number): void {
    for (const allowance of this.#allowances) allowance.charge(size);
  }

  /** Returns the refusal of further messages, undefined if one may be sent now. */
  get refusal(): Fault | undefined {
    return this.#allowances.map(({ refusal }) => refusal).find((fault) => fault !== undefined);
  }
}

/**
 * The budgets of a channel's senders.
 *
 * A user has one budget, over all sockets and HTTP. Over HTTP, anonymous clients cannot be told apart, so an address
 * has one budget. Over sockets, each anonymous client has a budget of its own, so that a school with one address can
 * chat. All anonymous sockets of an address also share a larger budget, so that more sockets, or new ones, do not give
 * more.
 */
export class SenderBudgets {
  readonly #senders = new Recent(MAX_REMEMBERED_SENDERS, () => new Allowance(SENDER));
  readonly #addresses = new Recent(MAX_REMEMBERED_SENDERS, () => new Allowance(ADDRESS));
  readonly #sockets = new WeakMap<WebSocket, Allowance>();

  /**
   * Returns the budget of a sender.
   *
   * @param group The group that the sender's sockets are counted in.
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

/** Returns the bytes that a message costs: its JSON and its sender's JSON, which every recipient gets, in UTF-8. */
export function sizeOf(payload: string, client: string | null): number {
  return utf8Length(payload) + (client === null ? 0 : utf8Length(client));
}
