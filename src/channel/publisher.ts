import { authorizePublish, type Identity } from "../auth/policy.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { messageFrame } from "../protocol/frames.ts";
import { type SenderBudget, sizeOf } from "./budgets.ts";
import type { KeyedMessage, IdempotencyKeys } from "./idempotency-keys.ts";
import { type MessageLog, MAX_APPEND_CHARACTERS, type NewMessages, type Position } from "./message-log.ts";
import type { AnonymousQuota } from "./quota.ts";
import { type SettingsCopy, UNAVAILABLE } from "./settings.ts";
import type { Sockets } from "./sockets.ts";

/** A message to publish. */
export interface NewMessage {
  /** JSON. */
  payload: string;
  /** The sender as JSON; null for an API-key client that names no sender. */
  client: string | null;
  /**
   * The auth database to whose users the message is restricted, which must be the channel's; null if it is for every
   * client.
   */
  database: string | null;
  /** The idempotency key, if the caller sent one. */
  idempotency?: KeyedMessage;
}

/** The messages that one caller publishes at once. */
export interface Submission {
  who: Identity;
  /** The address by which limits count an anonymous client. */
  address?: string;
  messages: readonly NewMessage[];
}

interface PublisherDeps {
  /** The channel's name. */
  channel: string;
  log: MessageLog;
  keys: IdempotencyKeys;
  quota: AnonymousQuota;
  sockets: Sockets;
  settings: SettingsCopy;
  /** Called after messages were stored. They wait for the archive. */
  onStored: () => void;
}

/** Orders messages, stores them, and delivers them. There is no await in this class. */
export class Publisher {
  readonly #deps: PublisherDeps;

  constructor(deps: PublisherDeps) {
    this.#deps = deps;
  }

  /**
   * Publishes the events of one caller, in order. Once an event exceeds the caller's budget, all later events are
   * refused, so that their order is kept.
   *
   * @returns One result per event. An event whose idempotency key is known gets its original result.
   */
  publish(who: Identity, messages: readonly NewMessage[], budget: SenderBudget): Result<Position>[] {
    let isSpent = false;
    return runsOf(messages).flatMap((run) => {
      const results = isSpent ? overBudget(run, budget) : this.#publishRun(who, run, budget);
      const last = results.at(-1);
      isSpent ||= last?.ok === false && last.fault.code === "rate-limited";
      return results;
    });
  }

  /** Decides by the last known settings whether a caller may publish a message. */
  authorize(who: Identity, message: Pick<NewMessage, "database">): Result<null> {
    const { settings } = this.#deps;
    if (!settings.isKnown && dependsOnSettings(who, message)) return UNAVAILABLE;
    return authorizePublish(who, message.database, settings.current);
  }

  /**
   * Numbers, stores and delivers messages in one turn of the event loop. The output gate sends no frame before the
   * commit is durable.
   *
   * @param who The client that publishes or sends them.
   * @param alsoStore Stores more data for the first message, in the same commit.
   */
  accept(
    who: Identity,
    { payloads, ...shared }: NewMessages,
    alsoStore?: (position: Position) => void,
  ): Result<Position>[] {
    const { channel, log, quota, sockets, onStored } = this.#deps;
    const fitting = payloads.slice(0, log.room);
    const accepted = who.kind === "anonymous" ? quota.take(fitting, shared.client) : fitting;
    const stored = accepted.length > 0 ? log.append({ ...shared, payloads: accepted }, alsoStore) : [];
    quota.save();
    for (const message of stored) sockets.broadcast(messageFrame(channel, message), message);
    if (stored.length > 0) onStored();
    const results = stored.map(resultFor);
    const tooMany = payloads.slice(fitting.length).map(() => BACKLOG_FULL);
    return [...results, ...fitting.slice(stored.length).map(() => quota.refusal()), ...tooMany];
  }

  /** Stores as many of these messages as the sender's budget allows, and charges it for them. */
  acceptWithin(
    who: Identity,
    budget: SenderBudget,
    messages: NewMessages,
    alsoStore?: (position: Position) => void,
  ): Result<Position>[] {
    if (budget.isUnlimited) return this.accept(who, messages, alsoStore);
    const sizes = messages.payloads.map((payload) => sizeOf(payload, messages.client));
    const count = budget.count(sizes);
    const results =
      count === 0 ? [] : this.accept(who, { ...messages, payloads: messages.payloads.slice(0, count) }, alsoStore);
    for (const [index, size] of sizes.entries()) if (results[index]?.ok) budget.charge(size);
    return [...results, ...overBudget(messages.payloads.slice(count), budget)];
  }

  #publishRun(who: Identity, run: Run, budget: SenderBudget): Result<Position>[] {
    const [{ client, database, idempotency }] = run;
    const allowed = this.authorize(who, { database });
    if (!allowed.ok) return run.map(() => allowed);
    const messages: NewMessages = { action: "event", client, database, payloads: run.map(({ payload }) => payload) };
    if (!idempotency) return this.acceptWithin(who, budget, messages);
    return this.#acceptOnce(who, messages, idempotency, budget);
  }

  #acceptOnce(who: Identity, message: NewMessages, keyed: KeyedMessage, budget: SenderBudget): Result<Position>[] {
    const { keys } = this.#deps;
    const known = keys.find(keyed);
    if (known) return [known.isSame ? resultFor(known) : KEY_REUSED];
    const retryAfter = keys.secondsUntilRoom(who.kind, Date.now());
    if (retryAfter > 0) return [keysFull(retryAfter)];
    return this.acceptWithin(who, budget, message, (position) => keys.remember(keyed, position));
  }
}

/** Returns refusals of messages that exceed their sender's budget. */
function overBudget(messages: readonly unknown[], { refusal }: SenderBudget): Result<never>[] {
  return messages.map(() => (refusal ? { ok: false, fault: refusal } : OVER_BUDGET));
}

/** The refusal of messages that follow a refused message, if the budget has recovered in the meantime. */
const OVER_BUDGET = refuse("rate-limited", "An earlier message of this batch was refused. Send again in 1 s.", {
  retryAfter: 1,
});

const BACKLOG_FULL = refuse(
  "backlog-full",
  "The channel has as many unarchived messages as it can hold. Try again in 5 s.",
  {
    retryAfter: 5,
  },
);

const KEY_REUSED = refuse(
  "key-reused",
  "This idempotency key was used for a different message. Send a new message with a new key.",
  {
    field: "Idempotency-Key",
  },
);

function keysFull(retryAfter: number): Result<never> {
  const detail = `The channel's storage for idempotency keys is full. Try again in ${retryAfter} s, or publish without a key.`;
  return refuse("keys-full", detail, { field: "Idempotency-Key", retryAfter });
}

function resultFor({ seq, time }: Position): Result<Position> {
  return { ok: true, value: { seq, time } };
}

/** Whether the settings decide about a message. API-key clients may publish every message except a restricted one. */
export function dependsOnSettings(who: Identity, { database }: Pick<NewMessage, "database">): boolean {
  return who.kind !== "server" || database !== null;
}

/** Messages that one SQL statement can store. */
type Run = [NewMessage, ...NewMessage[]];

/**
 * Returns as few runs as possible, in order. A message with an idempotency key is a run of its own, because its key is
 * stored with it.
 */
function runsOf(messages: readonly NewMessage[]): Run[] {
  const runs: Run[] = [];
  let characters = 0;
  for (const message of messages) {
    const run = runs.at(-1);
    characters += message.payload.length;
    if (run && characters <= MAX_APPEND_CHARACTERS && canShareRun(run[0], message)) {
      run.push(message);
    } else {
      runs.push([message]);
      characters = message.payload.length;
    }
  }
  return runs;
}

function canShareRun(one: NewMessage, other: NewMessage): boolean {
  if (one.idempotency !== undefined || other.idempotency !== undefined) return false;
  return one.client === other.client && one.database === other.database;
}
