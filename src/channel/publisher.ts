import { authorize, authorizePublish, type Identity } from "../auth/policy.ts";
import type { Recipient } from "../protocol/frames.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { messageFrame, unstoredFrame } from "../protocol/frames.ts";
import { type SenderBudget, sizeOf } from "./budgets.ts";
import { type IdempotencyKeys, keyFor, keyOf, visibleId } from "./idempotency-keys.ts";
import { type Key, type MessageLog, MAX_APPEND_CHARACTERS, type NewMessages, type Position } from "./message-log.ts";
import type { AnonymousQuota } from "./quota.ts";
import { type SettingsCopy, UNAVAILABLE } from "./settings.ts";
import type { Origin, Sockets } from "./sockets.ts";

/** A message to publish or to send. */
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
  /** The application's name for its kind, null if the publisher gave none. */
  type: string | null;
  /** The idempotency key, if the caller sent one. */
  id?: string | undefined;
  /** Whether it is only delivered, and not stored. */
  ephemeral?: boolean;
  /** Its only recipients. It is then not stored. */
  to?: Recipient | undefined;
  /** The `socketId` of a client that does not get it live. */
  except?: string | undefined;
}

/** What became of a message: its position, null if it was delivered and not stored. */
export type Accepted = Position | null;

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
  publish(origin: Origin, messages: readonly NewMessage[], budget: SenderBudget): Result<Accepted>[] {
    let isSpent = false;
    return runsOf(messages).flatMap((run) => {
      const results = isSpent ? overBudget(run, budget) : this.#publishRun(origin, run, budget);
      const last = results.at(-1);
      isSpent ||= last?.ok === false && last.fault.code === "rate-limited";
      return results;
    });
  }

  /** Decides by the last known settings whether a caller may publish a message. */
  authorize(who: Identity, message: Pick<NewMessage, "database" | "to">): Result<null> {
    const { settings } = this.#deps;
    if (!settings.isKnown && dependsOnSettings(who, message)) return UNAVAILABLE;
    if (message.to) return authorize(who, "message-private", settings.current);
    return authorizePublish(who, message.database, settings.current);
  }

  /**
   * Stores and delivers messages that may be sent, within the sender's budget.
   *
   * @param run Messages that one SQL statement can store.
   * @returns One result per message.
   */
  accept(origin: Origin, action: "event" | "message", run: Run, budget: SenderBudget): Result<Accepted>[] {
    const [first] = run;
    if (first.to || first.ephemeral) return run.map((message) => this.#deliver(origin.who, action, message, budget));
    return first.id === undefined
      ? this.#storeWithin(origin, action, run, budget)
      : this.#storeOnce(origin, action, run, budget);
  }

  #publishRun(origin: Origin, run: Run, budget: SenderBudget): Result<Accepted>[] {
    const allowed = this.authorize(origin.who, run[0]);
    return allowed.ok ? this.accept(origin, "event", run, budget) : run.map(() => allowed);
  }

  /** Delivers a private or ephemeral message. */
  #deliver(
    who: Identity,
    action: "event" | "message",
    { payload, client, database, type, to, except }: NewMessage,
    budget: SenderBudget,
  ): Result<null> {
    const { channel, sockets } = this.#deps;
    const recipients = to && sockets.recipients(to);
    if (recipients?.length === 0 && this.#mayLearnAbsence(who, to)) return unknownRecipient(to);
    if (budget.refusal) return { ok: false, fault: budget.refusal };
    const frame = unstoredFrame(channel, { action, client, type, to, payload });
    if (recipients) for (const recipient of recipients) sockets.send(recipient, frame);
    else sockets.broadcast(frame, { database, except, isEphemeral: true });
    if (!budget.isUnlimited) budget.charge(sizeOf(payload, client));
    return DELIVERED;
  }

  /** Whether a sender may learn that there is no such recipient. Users have guessable ids, so it shows who is present. */
  #mayLearnAbsence(who: Identity, to: Recipient | undefined): boolean {
    return to === undefined || "socketId" in to || authorize(who, "presence", this.#deps.settings.current).ok;
  }

  /** Stores the messages whose keys are new. A message whose key is known gets its original result. */
  #storeOnce(origin: Origin, action: "event" | "message", run: Run, budget: SenderBudget): Result<Position>[] {
    const { keys } = this.#deps;
    const keyed = run.map((message) => keyFor(origin.who, message.id ?? "", { ...message, action }));
    const known = keyed.map((key) => keys.find(key));
    // A key may occur twice in a run. Then only its first message is new.
    const firsts = new Map<string, number>();
    for (const [index, { key }] of keyed.entries()) if (!known[index] && !firsts.has(key)) firsts.set(key, index);
    const fresh = [...firsts.values()];
    const [first, ...rest] = fresh.flatMap((index) => run[index] ?? []);
    const newKeys = fresh.flatMap((index) => keyed[index] ?? []);
    const stored = first ? this.#storeNew(origin, action, [first, ...rest], budget, newKeys) : [];
    const results = new Map(fresh.map((index, place) => [index, stored[place] ?? UNAVAILABLE]));
    return keyed.map((key, index) => {
      const result = results.get(index);
      if (result) return result;
      const earlier = known[index] ?? keys.find(key);
      // The first message with this key was refused, and so is this one.
      if (!earlier) return results.get(firsts.get(key.key) ?? index) ?? UNAVAILABLE;
      return earlier.isSame ? resultFor(earlier) : KEY_REUSED;
    });
  }

  #storeNew(
    origin: Origin,
    action: "event" | "message",
    run: Run,
    budget: SenderBudget,
    newKeys: readonly Key[],
  ): Result<Position>[] {
    const { keys } = this.#deps;
    const retryAfter = keys.secondsUntilRoom(origin.who.kind, Date.now());
    if (retryAfter > 0) return run.map(() => keysFull(retryAfter));
    const results = this.#storeWithin(origin, action, run, budget, newKeys);
    for (const [index, { key }] of newKeys.entries()) {
      const result = results[index];
      if (result?.ok) keys.stored(key, result.value);
    }
    return results;
  }

  /** Stores as many of these messages as the sender's budget allows, and charges it for them. */
  #storeWithin(
    origin: Origin,
    action: "event" | "message",
    run: Run,
    budget: SenderBudget,
    keys?: readonly Key[],
  ): Result<Position>[] {
    const [{ client, database, type, except }] = run;
    const payloads = run.map(({ payload }) => payload);
    const shared = { action, client, database, type, keys };
    if (budget.isUnlimited) return this.#store(origin, { ...shared, payloads }, except);
    const sizes = payloads.map((payload) => sizeOf(payload, client));
    const count = budget.count(sizes);
    const results = count === 0 ? [] : this.#store(origin, { ...shared, payloads: payloads.slice(0, count) }, except);
    for (const [index, size] of sizes.entries()) if (results[index]?.ok) budget.charge(size);
    return [...results, ...overBudget(payloads.slice(count), budget)];
  }

  /**
   * Numbers, stores and delivers messages in one turn of the event loop. The output gate sends no frame before the
   * commit is durable.
   */
  #store(origin: Origin, { payloads, ...shared }: NewMessages, except: string | undefined): Result<Position>[] {
    const { log, keys, quota, onStored } = this.#deps;
    const fitting = payloads.slice(0, log.room);
    const accepted = origin.who.kind === "anonymous" ? quota.take(fitting, shared.client) : fitting;
    keys.moveOverwritten(accepted.length);
    const stored = accepted.length > 0 ? log.append({ ...shared, payloads: accepted }) : [];
    quota.save();
    this.#broadcast(origin, shared, stored, except);
    if (stored.length > 0) onStored();
    const results = stored.map(resultFor);
    const tooMany = payloads.slice(fitting.length).map(() => BACKLOG_FULL);
    return [...results, ...fitting.slice(stored.length).map(() => quota.refusal()), ...tooMany];
  }

  #broadcast(
    origin: Origin,
    { database, keys }: Pick<NewMessages, "database" | "keys">,
    stored: ReturnType<MessageLog["append"]>,
    except: string | undefined,
  ): void {
    const { channel, sockets } = this.#deps;
    const scope = keyOf(origin.who, "").length;
    for (const [index, message] of stored.entries()) {
      const key = keys?.[index]?.key;
      const id = key === undefined ? undefined : visibleId(key.slice(scope));
      const frame = messageFrame(channel, message);
      const own = id === undefined ? undefined : { origin, frame: messageFrame(channel, message, id) };
      sockets.broadcast(frame, { database, except, own });
      // A sender that has joined gets its own message even if it may not receive others.
      if (origin.socket) sockets.echo(origin.socket, message, () => own?.frame ?? frame);
    }
  }
}

const DELIVERED = { ok: true, value: null } as const;

function unknownRecipient(to: Recipient | undefined): Result<never> {
  const field = to && "user" in to ? "user" : "socketId";
  const what =
    field === "user"
      ? "No client of this user has joined this channel"
      : "No client that has joined this channel has this socketId";
  return refuse("unknown-recipient", `${what}. It may have left.`, { field });
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
export type Run = [NewMessage, ...NewMessage[]];

/** Returns as few runs as possible, in order. Either all messages of a run have an idempotency key, or none has. */
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
  if (isAlone(one) || isAlone(other)) return false;
  return (
    (one.id === undefined) === (other.id === undefined) &&
    one.client === other.client &&
    one.database === other.database &&
    one.type === other.type &&
    one.except === other.except
  );
}

/** Whether a message is not stored, and so shares no statement with others. */
function isAlone({ to, ephemeral }: NewMessage): boolean {
  return to !== undefined || ephemeral === true;
}
