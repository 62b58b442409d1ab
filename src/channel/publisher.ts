import { decidePublish, type Identity } from "../auth/policy.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { messageFrame } from "../protocol/frames.ts";
import { type SenderBudget, sizeOf } from "./budgets.ts";
import type { KeyedMessage, Keys } from "./keys.ts";
import { type Log, MAX_RUN_TEXT, type NewMessages, type Place } from "./log.ts";
import type { AnonymousQuota } from "./quota.ts";
import { type SettingsCopy, UNAVAILABLE } from "./settings.ts";
import type { Sockets } from "./sockets.ts";

/** A message to publish. */
export interface Publication {
  /** JSON. */
  payload: string;
  /** JSON: who sent it; null for an API-key client that names no sender. */
  client: string | null;
  /** The auth database whose users alone may see it, which must be the channel's. */
  database: string | null;
  /** For one that may be sent again. */
  idempotency?: KeyedMessage;
}

/** What one caller publishes at once. */
export interface Submission {
  who: Identity;
  /** The address that limits count an anonymous caller by. */
  address?: string;
  publications: readonly Publication[];
}

interface Needs {
  /** The channel's name. */
  channel: string;
  log: Log;
  keys: Keys;
  quota: AnonymousQuota;
  sockets: Sockets;
  settings: SettingsCopy;
  /** Called for each message that was stored, and so waits for the archive. */
  stored: () => void;
}

/** Gives messages their place, stores them, and delivers them. Nothing in here awaits. */
export class Publisher {
  readonly #needs: Needs;

  constructor(needs: Needs) {
    this.#needs = needs;
  }

  /**
   * Publishes events of one caller, in order; for each a result. One whose key is known already is answered as it was then. Once
   * one is more than the caller's budget, all that follow are refused, so that order is kept.
   */
  publish(who: Identity, publications: readonly Publication[], budget: SenderBudget): Result<Place>[] {
    let isSpent = false;
    return runsOf(publications).flatMap((run) => {
      const results = isSpent ? overBudget(run, budget) : this.#publishRun(who, run, budget);
      const last = results.at(-1);
      isSpent ||= last?.ok === false && last.fault.code === "rate-limited";
      return results;
    });
  }

  /** Decides by the last known settings whether a caller may publish a message. */
  decide(who: Identity, publication: Pick<Publication, "database">): Result<null> {
    const { settings } = this.#needs;
    if (!settings.isKnown && dependsOnSettings(who, publication)) return UNAVAILABLE;
    return decidePublish(who, publication.database, settings.current);
  }

  /**
   * Numbers, stores and delivers in one turn: the output gate lets no frame out before the commit is durable.
   *
   * @param who The client that publishes or sends them.
   * @param within Stores in the same commit what belongs to the first message.
   */
  accept(who: Identity, { payloads, ...shared }: NewMessages, within?: (place: Place) => void): Result<Place>[] {
    const { channel, log, quota, sockets, stored } = this.#needs;
    const fitting = payloads.slice(0, log.room);
    const taken = who.kind === "anonymous" ? quota.take(fitting, shared.client) : fitting;
    const kept = taken.length > 0 ? log.append({ ...shared, payloads: taken }, within) : [];
    quota.save();
    for (const message of kept) sockets.broadcast(messageFrame(channel, message), message);
    if (kept.length > 0) stored();
    const results = kept.map(placed);
    const tooMany = payloads.slice(fitting.length).map(() => BACKLOG_FULL);
    return [...results, ...fitting.slice(kept.length).map(() => quota.refusal()), ...tooMany];
  }

  /** Stores as many of these messages as a sender's budget allows, and charges it for them. */
  acceptWithin(
    who: Identity,
    budget: SenderBudget,
    messages: NewMessages,
    within?: (place: Place) => void,
  ): Result<Place>[] {
    if (budget.isUnlimited) return this.accept(who, messages, within);
    const sizes = messages.payloads.map((payload) => sizeOf(payload, messages.client));
    const count = budget.count(sizes);
    const results =
      count === 0 ? [] : this.accept(who, { ...messages, payloads: messages.payloads.slice(0, count) }, within);
    for (const [index, size] of sizes.entries()) if (results[index]?.ok) budget.charge(size);
    return [...results, ...overBudget(messages.payloads.slice(count), budget)];
  }

  #publishRun(who: Identity, run: Run, budget: SenderBudget): Result<Place>[] {
    const [{ client, database, idempotency }] = run;
    const allowed = this.decide(who, { database });
    if (!allowed.ok) return run.map(() => allowed);
    const messages: NewMessages = { action: "event", client, database, payloads: run.map(({ payload }) => payload) };
    if (!idempotency) return this.acceptWithin(who, budget, messages);
    return this.#acceptOnce(who, messages, idempotency, budget);
  }

  #acceptOnce(who: Identity, message: NewMessages, keyed: KeyedMessage, budget: SenderBudget): Result<Place>[] {
    const { keys } = this.#needs;
    const known = keys.find(keyed);
    if (known) return [known.isSame ? placed(known) : KEY_REUSED];
    const retryAfter = keys.secondsUntilRoom(who.kind, Date.now());
    if (retryAfter > 0) return [keysFull(retryAfter)];
    return this.acceptWithin(who, budget, message, (place) => keys.remember(keyed, place));
  }
}

/** The refusal of messages that are more than their sender's budget. */
function overBudget(messages: readonly unknown[], { refusal }: SenderBudget): Result<never>[] {
  return messages.map(() => (refusal ? { ok: false, fault: refusal } : OVER_BUDGET));
}

/** For messages that follow a refused one after the budget has recovered. */
const OVER_BUDGET = refuse("rate-limited", "An earlier message of this batch was refused. Send again in 1 s.", {
  retryAfter: 1,
});

const BACKLOG_FULL = refuse("backlog-full", "The channel takes no more until its archive has caught up.", {
  retryAfter: 5,
});

const KEY_REUSED = refuse("key-reused", "This key came with another message before; a new message needs a new key.", {
  field: "Idempotency-Key",
});

function keysFull(retryAfter: number): Result<never> {
  const detail = "The channel remembers as many idempotency keys as it can; it takes messages without a key.";
  return refuse("keys-full", detail, { field: "Idempotency-Key", retryAfter });
}

function placed({ seq, time }: Place): Result<Place> {
  return { ok: true, value: { seq, time } };
}

/** Whether settings decide if a message may be published: API-key clients may publish all but restricted messages. */
export function dependsOnSettings(who: Identity, { database }: Pick<Publication, "database">): boolean {
  return who.kind !== "server" || database !== null;
}

/** Publications that can be stored by one statement. */
type Run = [Publication, ...Publication[]];

/** As few runs as there can be, in order: what may be sent again is one of its own, as its key is stored with it. */
function runsOf(publications: readonly Publication[]): Run[] {
  const runs: Run[] = [];
  let text = 0;
  for (const publication of publications) {
    const run = runs.at(-1);
    text += publication.payload.length;
    if (run && text <= MAX_RUN_TEXT && areAlike(run[0], publication)) {
      run.push(publication);
    } else {
      runs.push([publication]);
      text = publication.payload.length;
    }
  }
  return runs;
}

function areAlike(one: Publication, other: Publication): boolean {
  if (one.idempotency !== undefined || other.idempotency !== undefined) return false;
  return one.client === other.client && one.database === other.database;
}
