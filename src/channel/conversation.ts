import { decide, type Identity, mayRead } from "../auth/policy.ts";
import { takeWithin } from "../history/range.ts";
import { CLOSE, FLOOD_REASON } from "../protocol/close.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import {
  type Client,
  errorFrame,
  historyFrame,
  joinFrame,
  leaveFrame,
  messageFrame,
  presenceFullFrame,
  privateFrame,
  type Resume,
} from "../protocol/frames.ts";
import {
  DEFAULT_PAGE_SIZE,
  FLOODS_AT_ONCE,
  FLOODS_PER_SECOND,
  HISTORIES_AT_ONCE,
  HISTORIES_PER_SECOND,
  MAX_BUSY_HISTORY_TEXT,
  MAX_PAGE_BYTES,
  MAX_PRESENCE,
  MAX_REMEMBERED_SENDERS,
  MAX_REPLAY,
  REPLAY_TEXT_AT_ONCE,
  REPLAY_TEXT_PER_SECOND,
} from "../protocol/limits.ts";
import { messageText } from "../protocol/json.ts";
import { historyPath } from "../protocol/paths.ts";
import { type ClientFrame, parseFrame } from "../protocol/schemas.ts";
import { type SenderBudget, type SenderBudgets, sizeOf } from "./budgets.ts";
import type { Log, NewMessages, Place } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { PresenceFeed } from "./presence-feed.ts";
import { FrameRate, Rate } from "./rate.ts";
import { Recent } from "./recent.ts";
import type { SettingsCopy } from "./settings.ts";
import { clientOf, SERVER_GROUP, type Sockets } from "./sockets.ts";

interface Needs {
  /** The channel's name. */
  channel: string;
  log: Log;
  sockets: Sockets;
  settings: SettingsCopy;
  metrics: Metrics;
  presence: PresenceFeed;
  budgets: SenderBudgets;
  /** Stores and delivers, within a sender's budget. */
  accept: (who: Identity, budget: SenderBudget, messages: NewMessages) => Result<Place>[];
}

/** Who sent a frame: read from its socket's attachment once, for all that the frame makes necessary. */
interface Speaker {
  socket: WebSocket;
  identity: Identity;
  client: Client;
}

type JoinFrame = Extract<ClientFrame, { action: "join" }>;
type MessageFrame = Extract<ClientFrame, { action: "message" }>;

const DONE = { ok: true, value: null } as const;
const NO_AUTH_DATABASE = refuse(
  "forbidden",
  "This channel has no auth database, so nobody could receive this message.",
  {
    field: "options.authenticated",
  },
);

/**
 * What clients say over their sockets, and what they are answered. Nothing in here awaits, so a client's frames take
 * effect in the order in which it sent them, and nothing comes between a join and its replay.
 */
export class Conversation {
  readonly #needs: Needs;
  readonly #rates = new WeakMap<WebSocket, FrameRate>();
  readonly #histories = new WeakMap<WebSocket, Rate>();
  /** The sockets over which a join has been answered. */
  readonly #haveJoined = new WeakSet<WebSocket>();
  /** The sockets that were closed for flooding, by group. */
  readonly #floods = new Recent(MAX_REMEMBERED_SENDERS, () => new Rate(FLOODS_PER_SECOND, FLOODS_AT_ONCE, Date.now()));
  /** What replays and history may take of the object's memory, all clients together. */
  readonly #replays = new Rate(REPLAY_TEXT_PER_SECOND, REPLAY_TEXT_AT_ONCE, Date.now());

  constructor(needs: Needs) {
    this.#needs = needs;
  }

  /**
   * Returns whether a frame is taken, by its number alone: frames over the rate, and those of a socket that was closed, cost as
   * little as possible. A socket that floods is closed.
   */
  admits(socket: WebSocket): boolean {
    const group = this.#needs.sockets.groupOf(socket);
    if (group === undefined) return false;
    if (group === SERVER_GROUP) return true;
    const verdict = this.#rateOf(socket).take();
    if (verdict === "taken") return true;
    if (verdict === "flood") this.#closeFlood(socket, group);
    else if (verdict !== "silent") this.fault(socket, verdict);
    return false;
  }

  /**
   * Returns why a group of senders may open no socket just now, undefined if it may: too many of its sockets were closed for
   * flooding.
   */
  refusal(group: string): Fault | undefined {
    const retryAfter = this.#floods.get(group).take(Date.now(), 0);
    if (retryAfter === 0) return undefined;
    const detail = `Connections from here were closed for sending too many frames. Connect again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, limit: FLOODS_AT_ONCE, retryAfter };
  }

  /** Takes a frame that was admitted. */
  hear(socket: WebSocket, data: string | ArrayBuffer): void {
    const { identity, socketId } = this.#needs.sockets.attachment(socket);
    const speaker = { socket, identity, client: clientOf(identity, socketId) };
    const frame = this.#parse(data);
    const done = frame.ok ? this.#answer(speaker, frame.value) : frame;
    if (!done.ok) this.fault(socket, done.fault);
  }

  /** Tells a client what is wrong. Its connection stays open. */
  fault(socket: WebSocket, fault: Fault): void {
    this.#needs.metrics.refusals += 1;
    this.#needs.sockets.send(socket, errorFrame(this.#needs.channel, fault));
  }

  #closeFlood(socket: WebSocket, group: string): void {
    this.#floods.get(group).take(Date.now());
    this.#needs.sockets.close(socket, CLOSE.flood, FLOOD_REASON);
  }

  #rateOf(socket: WebSocket): FrameRate {
    const rate = this.#rates.get(socket) ?? new FrameRate();
    this.#rates.set(socket, rate);
    return rate;
  }

  #parse(data: string | ArrayBuffer): Result<ClientFrame> {
    const frame = parseFrame(data);
    if (!frame.ok) return frame;
    const named = frame.value.options?.channel;
    if (named === undefined || named === this.#needs.channel) return frame;
    const field = "options.channel";
    return refuse("invalid-field", `${field} must be this socket's channel, or left out.`, { field });
  }

  #answer(speaker: Speaker, frame: ClientFrame): Result<unknown> {
    switch (frame.action) {
      case "join":
        return this.#join(speaker, frame);
      case "leave":
        return this.#leave(speaker);
      case "message":
        return this.#message(speaker, frame);
      case "history":
        return this.#history(speaker);
    }
  }

  #join(speaker: Speaker, { options, payload }: JoinFrame): Result<null> {
    const { channel, log, sockets, settings, presence } = this.#needs;
    const { socket, identity, client } = speaker;
    const allowed = decide(identity, "subscribe", settings.current);
    if (!allowed.ok) return allowed;
    const may = (action: "receive" | "history" | "presence") => decide(identity, action, settings.current).ok;
    const granted = {
      history: payload?.history === true && may("history"),
      presence: payload?.presence === true && may("presence"),
    };
    const asks = granted.history || granted.presence || options?.after !== undefined;
    const tooOften = this.#isFirstJoin(socket) || !asks ? undefined : this.#asksTooOften(socket, identity);
    if (tooOften) return { ok: false, fault: tooOften };
    // A client that receives nothing misses nothing, and is not told how far the channel is.
    const seq = may("receive") ? log.last : 0;
    const resume = options?.after === undefined ? undefined : this.#resume(options.after, identity, may);

    const isNew = !sockets.hasJoined(socket);
    // The others, who do not include it yet.
    if (isNew && identity.kind !== "server") presence.joined(client);
    sockets.join(socket, granted.presence);
    if (granted.presence) presence.watching(socket);
    const frames = [joinFrame(channel, client, { seq, granted, ...resume?.answer })];
    if (resume?.missed) frames.push(...resume.missed);
    else if (granted.history) frames.push(this.#historyFrame(identity));
    if (granted.presence) frames.push(presenceFullFrame(channel, sockets.members(MAX_PRESENCE)));
    sockets.send(socket, ...frames);
    return DONE;
  }

  #leave({ socket }: Speaker): Result<null> {
    this.#needs.sockets.leave(socket);
    this.#needs.sockets.send(socket, leaveFrame(this.#needs.channel));
    return DONE;
  }

  #message(speaker: Speaker, { options, payload }: MessageFrame): Result<unknown> {
    const { channel, settings, sockets, accept } = this.#needs;
    const { socket, identity, client } = speaker;
    const written = messageText(payload, "payload");
    if (!written.ok) return written;
    const text = written.value;
    if (options?.socketId !== undefined) return this.#messagePrivately(speaker, options.socketId, text);
    const authenticated = options?.authenticated === true;
    const allowed = decide(identity, authenticated ? "message-authenticated" : "message", settings.current);
    if (!allowed.ok) return allowed;
    const database = authenticated ? (settings.current?.database ?? null) : null;
    // Without a database there would be no restriction: everybody would see it.
    if (authenticated && database === null) return NO_AUTH_DATABASE;
    const message = { action: "message", client: JSON.stringify(client), database } as const;
    const [accepted] = accept(identity, this.#budgetOf(socket), { ...message, payloads: [text] });
    if (accepted?.ok) {
      sockets.echo(socket, message, () => messageFrame(channel, { ...message, ...accepted.value, payload: text }));
    }
    return accepted ?? DONE;
  }

  #budgetOf(socket: WebSocket): SenderBudget {
    return this.#needs.budgets.of(this.#needs.sockets.groupOf(socket) ?? "", socket);
  }

  #messagePrivately({ socket, identity, client }: Speaker, socketId: string, payload: string): Result<null> {
    const { channel, sockets, settings } = this.#needs;
    const allowed = decide(identity, "message-private", settings.current);
    if (!allowed.ok) return allowed;
    const recipient = sockets.find(socketId);
    if (!recipient || !decide(sockets.attachment(recipient).identity, "receive", settings.current).ok) {
      return refuse("unknown-recipient", "No client of this channel has that socketId.", { field: "options.socketId" });
    }
    const budget = this.#budgetOf(socket);
    if (budget.refusal) return { ok: false, fault: budget.refusal };
    sockets.send(recipient, privateFrame(channel, client, socketId, payload));
    budget.charge(sizeOf(payload, JSON.stringify(client)));
    return DONE;
  }

  #history({ socket, identity }: Speaker): Result<null> {
    const allowed = decide(identity, "history", this.#needs.settings.current);
    if (!allowed.ok) return allowed;
    const tooOften = this.#asksTooOften(socket, identity);
    if (tooOften) return { ok: false, fault: tooOften };
    this.#needs.sockets.send(socket, this.#historyFrame(identity));
    return allowed;
  }

  /** Returns whether this join is the first over its socket, and notes it. */
  #isFirstJoin(socket: WebSocket): boolean {
    const isFirst = !this.#haveJoined.has(socket);
    this.#haveJoined.add(socket);
    return isFirst;
  }

  /** Why a client gets no history just now, if so; API-key clients always do. */
  #asksTooOften(socket: WebSocket, who: Identity): Fault | undefined {
    if (who.kind === "server") return undefined;
    const rate = this.#histories.get(socket) ?? new Rate(HISTORIES_PER_SECOND, HISTORIES_AT_ONCE, Date.now());
    this.#histories.set(socket, rate);
    const retryAfter = rate.take(Date.now());
    if (retryAfter === 0) return undefined;
    const detail = `A client gets history and presence ${HISTORIES_PER_SECOND} time per second. Ask again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, field: "action", limit: HISTORIES_PER_SECOND, retryAfter };
  }

  /** All that came after a position, or why it cannot be replayed whole and where to read on instead. */
  #resume(
    after: number,
    who: Identity,
    may: (action: "receive" | "history") => boolean,
  ): { answer: Resume; missed?: string[] } {
    const { channel, log } = this.#needs;
    if (!may("receive")) return { answer: { resumed: true, replayed: 0 } };
    const count = log.last - after;
    if (count < 0) return { answer: { resumed: false, reason: "ahead" } };
    if (count > 0 && !may("history")) return { answer: { resumed: false, reason: "no-history" } };
    const isTooMuch = count > MAX_REPLAY || (count > 0 && this.#isReplayingTooMuch());
    const held = isTooMuch ? [] : takeWithin(log.read({ from: after + 1, to: log.last }), MAX_PAGE_BYTES);
    if (held.length < count) {
      return { answer: { resumed: false, reason: "too-far-behind", next: historyPath(channel, `after=${after}`) } };
    }
    const missed = held.filter((message) => mayRead(who, message)).map((message) => messageFrame(channel, message));
    this.#replayed(missed);
    return { answer: { resumed: true, replayed: missed.length }, missed };
  }

  #historyFrame(who: Identity): string {
    const { channel, log, settings } = this.#needs;
    const depth = settings.current?.message_history || DEFAULT_PAGE_SIZE;
    const visible = log.read({ from: 1, to: log.last }, "DESC").filter((message) => mayRead(who, message));
    const budget = this.#isReplayingTooMuch() ? MAX_BUSY_HISTORY_TEXT : MAX_PAGE_BYTES;
    const latest = takeWithin(visible.take(depth), budget).toReversed();
    const frame = historyFrame(channel, log.last, latest);
    this.#replayed([frame]);
    return frame;
  }

  #isReplayingTooMuch(): boolean {
    return this.#replays.take(Date.now(), 0) > 0;
  }

  #replayed(frames: readonly string[]): void {
    const text = frames.reduce((sum, { length }) => sum + length, 0);
    this.#replays.take(Date.now(), text);
  }
}
