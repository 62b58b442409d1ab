import { authorize, type Identity, mayRead } from "../auth/policy.ts";
import { takeWithin } from "../archive/range.ts";
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
  MAX_BUSY_HISTORY_CHARACTERS,
  MAX_PAGE_CHARACTERS,
  MAX_LISTED_MEMBERS,
  MAX_REMEMBERED_SENDERS,
  MAX_REPLAY_MESSAGES,
  REPLAY_CHARACTERS_AT_ONCE,
  REPLAY_CHARACTERS_PER_SECOND,
} from "../protocol/limits.ts";
import { messageText } from "../protocol/json.ts";
import { historyPath } from "../protocol/paths.ts";
import { type ClientFrame, parseFrame } from "../protocol/client-frame.ts";
import { type SenderBudget, type SenderBudgets, sizeOf } from "./budgets.ts";
import type { MessageLog, NewMessages, Position } from "./message-log.ts";
import type { Metrics } from "./metrics.ts";
import type { PresenceFeed } from "./presence-feed.ts";
import { FrameRate, Rate } from "../shared/rate.ts";
import { Recent } from "../shared/recent.ts";
import type { SettingsCopy } from "./settings.ts";
import { clientOf, SERVER_GROUP, type Sockets } from "./sockets.ts";

interface FrameHandlerDeps {
  /** The channel's name. */
  channel: string;
  log: MessageLog;
  sockets: Sockets;
  settings: SettingsCopy;
  metrics: Metrics;
  presence: PresenceFeed;
  budgets: SenderBudgets;
  /** Stores and delivers messages, within the sender's budget. */
  accept: (who: Identity, budget: SenderBudget, messages: NewMessages) => Result<Position>[];
}

/** The sender of a frame, read from the socket's attachment once per frame. */
interface Sender {
  socket: WebSocket;
  identity: Identity;
  client: Client;
}

type JoinFrame = Extract<ClientFrame, { action: "join" }>;
type MessageFrame = Extract<ClientFrame, { action: "message" }>;

const DONE = { ok: true, value: null } as const;
const NO_AUTH_DATABASE = refuse(
  "forbidden",
  "This channel has no auth database, so it has no authenticated clients. Leave out options.authenticated, or set an auth database for the channel.",
  {
    field: "options.authenticated",
  },
);

/**
 * Handles the frames that clients send. There is no await in this class, so a client's frames take effect in the order
 * in which it sent them, and no message is delivered between a join and its replay.
 */
export class FrameHandler {
  readonly #deps: FrameHandlerDeps;
  readonly #rates = new WeakMap<WebSocket, FrameRate>();
  readonly #histories = new WeakMap<WebSocket, Rate>();
  /** The sockets that have sent a join. */
  readonly #haveJoined = new WeakSet<WebSocket>();
  /** The number of sockets closed for flooding, by group. */
  readonly #floods = new Recent(MAX_REMEMBERED_SENDERS, () => new Rate(FLOODS_PER_SECOND, FLOODS_AT_ONCE, Date.now()));
  /** The text of replays and `history` frames, for all clients together. It bounds the memory that they take. */
  readonly #replays = new Rate(REPLAY_CHARACTERS_PER_SECOND, REPLAY_CHARACTERS_AT_ONCE, Date.now());

  constructor(deps: FrameHandlerDeps) {
    this.#deps = deps;
  }

  /**
   * Returns whether to handle a frame. Decides by the number of frames alone, so frames over the limit cost as little
   * as possible. Closes a socket that floods.
   */
  admits(socket: WebSocket): boolean {
    const group = this.#deps.sockets.groupOf(socket);
    if (group === undefined) return false;
    if (group === SERVER_GROUP) return true;
    const verdict = this.#rateOf(socket).take();
    if (verdict === "admitted") return true;
    if (verdict === "flood") this.#closeFlood(socket, group);
    else if (verdict !== "silent") this.fault(socket, verdict);
    return false;
  }

  /**
   * Returns the refusal of another socket for a group, if too many of its sockets were closed for flooding; else
   * undefined.
   */
  refusal(group: string): Fault | undefined {
    const retryAfter = this.#floods.get(group).take(Date.now(), 0);
    if (retryAfter === 0) return undefined;
    const detail = `The server closed too many of your connections for sending too many frames. Connect again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, limit: FLOODS_AT_ONCE, retryAfter };
  }

  /** Handles a frame for which `admits` returned true. */
  handle(socket: WebSocket, data: string | ArrayBuffer): void {
    const { identity, socketId } = this.#deps.sockets.attachment(socket);
    const sender = { socket, identity, client: clientOf(identity, socketId) };
    const frame = this.#parse(data);
    const done = frame.ok ? this.#answer(sender, frame.value) : frame;
    if (!done.ok) this.fault(socket, done.fault);
  }

  /** Sends an `error` frame. The connection stays open. */
  fault(socket: WebSocket, fault: Fault): void {
    this.#deps.metrics.refusals += 1;
    this.#deps.sockets.send(socket, errorFrame(this.#deps.channel, fault));
  }

  #closeFlood(socket: WebSocket, group: string): void {
    this.#floods.get(group).take(Date.now());
    this.#deps.sockets.close(socket, CLOSE.flood, FLOOD_REASON);
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
    if (named === undefined || named === this.#deps.channel) return frame;
    const field = "options.channel";
    return refuse(
      "invalid-field",
      `${field} must be ${this.#deps.channel}, the channel of this socket; got ${named}. Or leave it out.`,
      { field },
    );
  }

  #answer(sender: Sender, frame: ClientFrame): Result<unknown> {
    switch (frame.action) {
      case "join":
        return this.#join(sender, frame);
      case "leave":
        return this.#leave(sender);
      case "message":
        return this.#message(sender, frame);
      case "history":
        return this.#history(sender);
    }
  }

  #join(sender: Sender, { options, payload }: JoinFrame): Result<null> {
    const { channel, log, sockets, settings, presence } = this.#deps;
    const { socket, identity, client } = sender;
    const allowed = authorize(identity, "subscribe", settings.current);
    if (!allowed.ok) return allowed;
    const isAllowed = (action: "receive" | "history" | "presence") => authorize(identity, action, settings.current).ok;
    const granted = {
      history: payload?.history === true && isAllowed("history"),
      presence: payload?.presence === true && isAllowed("presence"),
    };
    const needsHistory = granted.history || granted.presence || options?.after !== undefined;
    const tooOften = this.#isFirstJoin(socket) || !needsHistory ? undefined : this.#historyRateFault(socket, identity);
    if (tooOften) return { ok: false, fault: tooOften };
    // A client that may not receive messages does not learn the channel's last `seq`.
    const seq = isAllowed("receive") ? log.last : 0;
    const resume = options?.after === undefined ? undefined : this.#resume(options.after, identity, isAllowed);

    const isNew = !sockets.hasJoined(socket);
    // Announced before the socket joins, so only the other clients get the update.
    if (isNew && identity.kind !== "server") presence.joined(client);
    sockets.join(socket, granted.presence);
    if (granted.presence) presence.watching(socket);
    const frames = [joinFrame(channel, client, { seq, granted, ...resume?.answer })];
    if (resume?.missed) frames.push(...resume.missed);
    else if (granted.history) frames.push(this.#historyFrame(identity));
    if (granted.presence) frames.push(presenceFullFrame(channel, sockets.members(MAX_LISTED_MEMBERS)));
    sockets.send(socket, ...frames);
    return DONE;
  }

  #leave({ socket }: Sender): Result<null> {
    this.#deps.sockets.leave(socket);
    this.#deps.sockets.send(socket, leaveFrame(this.#deps.channel));
    return DONE;
  }

  #message(sender: Sender, { options, payload }: MessageFrame): Result<unknown> {
    const { channel, settings, sockets, accept } = this.#deps;
    const { socket, identity, client } = sender;
    const written = messageText(payload, "payload");
    if (!written.ok) return written;
    const text = written.value;
    if (options?.socketId !== undefined) return this.#messagePrivately(sender, options.socketId, text);
    const authenticated = options?.authenticated === true;
    const allowed = authorize(identity, authenticated ? "message-authenticated" : "message", settings.current);
    if (!allowed.ok) return allowed;
    const database = authenticated ? (settings.current?.database ?? null) : null;
    // Without a database the message would not be restricted, and every client would see it.
    if (authenticated && database === null) return NO_AUTH_DATABASE;
    const message = { action: "message", client: JSON.stringify(client), database } as const;
    const [accepted] = accept(identity, this.#budgetOf(socket), { ...message, payloads: [text] });
    if (accepted?.ok) {
      sockets.echo(socket, message, () => messageFrame(channel, { ...message, ...accepted.value, payload: text }));
    }
    return accepted ?? DONE;
  }

  #budgetOf(socket: WebSocket): SenderBudget {
    return this.#deps.budgets.of(this.#deps.sockets.groupOf(socket) ?? "", socket);
  }

  #messagePrivately({ socket, identity, client }: Sender, socketId: string, payload: string): Result<null> {
    const { channel, sockets, settings } = this.#deps;
    const allowed = authorize(identity, "message-private", settings.current);
    if (!allowed.ok) return allowed;
    const recipient = sockets.find(socketId);
    if (!recipient || !authorize(sockets.attachment(recipient).identity, "receive", settings.current).ok) {
      return refuse(
        "unknown-recipient",
        "No client that has joined this channel has this socketId. It may have left.",
        { field: "options.socketId" },
      );
    }
    const budget = this.#budgetOf(socket);
    if (budget.refusal) return { ok: false, fault: budget.refusal };
    sockets.send(recipient, privateFrame(channel, client, socketId, payload));
    budget.charge(sizeOf(payload, JSON.stringify(client)));
    return DONE;
  }

  #history({ socket, identity }: Sender): Result<null> {
    const allowed = authorize(identity, "history", this.#deps.settings.current);
    if (!allowed.ok) return allowed;
    const tooOften = this.#historyRateFault(socket, identity);
    if (tooOften) return { ok: false, fault: tooOften };
    this.#deps.sockets.send(socket, this.#historyFrame(identity));
    return allowed;
  }

  /** Returns whether this is the socket's first join, and records it. */
  #isFirstJoin(socket: WebSocket): boolean {
    const isFirst = !this.#haveJoined.has(socket);
    this.#haveJoined.add(socket);
    return isFirst;
  }

  /**
   * Returns the refusal of a `history` frame if the client has used up its rate; else undefined. API-key clients have
   * no limit.
   */
  #historyRateFault(socket: WebSocket, who: Identity): Fault | undefined {
    if (who.kind === "server") return undefined;
    const rate = this.#histories.get(socket) ?? new Rate(HISTORIES_PER_SECOND, HISTORIES_AT_ONCE, Date.now());
    this.#histories.set(socket, rate);
    const retryAfter = rate.take(Date.now());
    if (retryAfter === 0) return undefined;
    const detail = `A client may request history or presence ${HISTORIES_PER_SECOND} time per second. Try again in ${retryAfter} s.`;
    return { code: "rate-limited", detail, field: "action", limit: HISTORIES_PER_SECOND, retryAfter };
  }

  /** Returns the frames after a position, or the reason why they cannot be replayed completely. */
  #resume(
    after: number,
    who: Identity,
    isAllowed: (action: "receive" | "history") => boolean,
  ): { answer: Resume; missed?: string[] } {
    const { channel, log } = this.#deps;
    if (!isAllowed("receive")) return { answer: { resumed: true, replayed: 0 } };
    const count = log.last - after;
    if (count < 0) return { answer: { resumed: false, reason: "ahead" } };
    if (count > 0 && !isAllowed("history")) return { answer: { resumed: false, reason: "no-history" } };
    const isTooMuch = count > MAX_REPLAY_MESSAGES || (count > 0 && this.#isReplayingTooMuch());
    const replayed = isTooMuch ? [] : takeWithin(log.read({ from: after + 1, to: log.last }), MAX_PAGE_CHARACTERS);
    if (replayed.length < count) {
      return { answer: { resumed: false, reason: "too-far-behind", next: historyPath(channel, `after=${after}`) } };
    }
    const missed = replayed.filter((message) => mayRead(who, message)).map((message) => messageFrame(channel, message));
    this.#countReplay(missed);
    return { answer: { resumed: true, replayed: missed.length }, missed };
  }

  #historyFrame(who: Identity): string {
    const { channel, log, settings } = this.#deps;
    const depth = settings.current?.message_history || DEFAULT_PAGE_SIZE;
    const visible = log.read({ from: 1, to: log.last }, "DESC").filter((message) => mayRead(who, message));
    const budget = this.#isReplayingTooMuch() ? MAX_BUSY_HISTORY_CHARACTERS : MAX_PAGE_CHARACTERS;
    const latest = takeWithin(visible.take(depth), budget).toReversed();
    const frame = historyFrame(channel, log.last, latest);
    this.#countReplay([frame]);
    return frame;
  }

  #isReplayingTooMuch(): boolean {
    return this.#replays.take(Date.now(), 0) > 0;
  }

  #countReplay(frames: readonly string[]): void {
    const characters = frames.reduce((sum, { length }) => sum + length, 0);
    this.#replays.take(Date.now(), characters);
  }
}
