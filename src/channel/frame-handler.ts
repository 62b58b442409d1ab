import { authorize, type Identity, mayRead } from "../auth/policy.ts";
import { takeWithin } from "../archive/range.ts";
import { CLOSE, FLOOD_REASON } from "../protocol/close.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import {
  ackFrame,
  type Client,
  errorFrame,
  historyFrame,
  joinFrame,
  leaveFrame,
  messageFrame,
  messageFrames,
  presenceFullFrame,
  type Resume,
} from "../protocol/frames.ts";
import { recipientOf } from "../protocol/delivery.ts";
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
  MAX_STATE_BYTES,
  REPLAY_CHARACTERS_AT_ONCE,
  REPLAY_CHARACTERS_PER_SECOND,
} from "../protocol/limits.ts";
import { isLongerThan, messageText, tooLarge } from "../protocol/json.ts";
import { historyPath } from "../protocol/paths.ts";
import { type ClientFrame, idOf, idsIn, arrayLength, type ParsedFrame } from "../protocol/client-frame.ts";
import type { SenderBudget, SenderBudgets } from "./budgets.ts";
import { ownId } from "./idempotency-keys.ts";
import type { LoggedMessage, MessageLog } from "./message-log.ts";
import type { Metrics } from "./metrics.ts";
import type { PresenceFeed } from "./presence-feed.ts";
import type { Accepted, NewMessage, Publisher } from "./publisher.ts";
import { FrameRate, type FrameVerdict, Rate } from "../shared/rate.ts";
import { Recent } from "../shared/recent.ts";
import type { SenderDatabases } from "./sender-databases.ts";
import { type SettingsCopy, UNAVAILABLE } from "./settings.ts";
import { clientOf, type Origin, SERVER_GROUP, type Sockets } from "./sockets.ts";

interface FrameHandlerDeps {
  /** The channel's name. */
  channel: string;
  log: MessageLog;
  sockets: Sockets;
  settings: SettingsCopy;
  metrics: Metrics;
  presence: PresenceFeed;
  budgets: SenderBudgets;
  publisher: Publisher;
  databases: SenderDatabases;
}

/** The sender of a frame, read from the socket's attachment once per frame. */
interface Sender {
  socket: WebSocket;
  identity: Identity;
  client: Client;
}

type JoinFrame = Extract<ClientFrame, { action: "join" }>;
type MessageFrame = Extract<ClientFrame, { action: "message" }>;
type EventFrame = Extract<ClientFrame, { action: "event" }>;
type PresenceFrame = Extract<ClientFrame, { action: "presence" }>;

/** The handler has sent the answer to a frame itself. */
const ANSWERED = "answered";
const DONE = { ok: true, value: ANSWERED } as const;
const NOTHING_STORED = { ok: true, value: null } as const;
const NOT_JOINED = refuse(
  "not-joined",
  "Only members have a state, and this client has not joined. Send a join first.",
  {
    field: "action",
  },
);
const NO_MEMBER = refuse(
  "forbidden",
  "API-key clients are not members, so they have no state. Connect without the API key.",
  {
    field: "action",
  },
);
const ONLY_API_KEYS = refuse(
  "forbidden",
  "Only API-key clients may publish events over a socket. Send a message, or publish over HTTP.",
  { field: "action" },
);
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
   * Returns whether to handle a text. Decides by the number of texts alone, so texts over the limit cost as little as
   * possible. Closes a socket that floods.
   */
  admits(socket: WebSocket, data: string | ArrayBuffer): boolean {
    const group = this.#deps.sockets.groupOf(socket);
    if (group === undefined) return false;
    if (group === SERVER_GROUP) return true;
    const verdict = this.#rateOf(socket).take(arrayLength(data));
    if (verdict === "flood") this.#closeFlood(socket, group);
    else if (verdict !== "admitted") this.#answerRefused(socket, verdict, idsIn(data));
    return verdict === "admitted";
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

  /** Handles the frames of a text for which `admits` returned true, in order. */
  handle(socket: WebSocket, frames: readonly ParsedFrame[]): void {
    const { identity, socketId } = this.#deps.sockets.attachment(socket);
    const sender = { socket, identity, client: clientOf(identity, socketId) };
    const answers: string[] = [];
    let events: EventFrame[] = [];
    const flush = () => {
      if (events.length === 0) return;
      answers.push(...this.#publish(sender, events));
      events = [];
    };
    for (const [index, frame] of frames.entries()) {
      // `admits` has counted the first frame.
      if (index > 0 && !this.#admitsAnother(sender, frame)) continue;
      if (!this.#deps.sockets.isOpen(socket)) return;
      if (identity.kind === "server" && frame.ok && frame.value.action === "event" && this.#forThisChannel(frame).ok) {
        events.push(frame.value);
        continue;
      }
      flush();
      const answer = this.#handleOne(sender, frame);
      if (answer !== undefined) answers.push(answer);
    }
    flush();
    this.#deps.sockets.answer(socket, answers);
  }

  /** Sends an `error` frame. The connection stays open. */
  fault(socket: WebSocket, fault: Fault, id?: string): void {
    this.#deps.sockets.send(socket, this.#errorFrame(fault, id));
  }

  /** Sends an `error` for each of the frames of a text that is not handled. */
  refuseAll(socket: WebSocket, fault: Fault, frames: readonly ParsedFrame[]): void {
    for (const frame of frames) this.fault(socket, frame.ok ? fault : frame.fault, idOf(frame));
  }

  #errorFrame(fault: Fault, id: string | undefined): string {
    this.#deps.metrics.refusals += 1;
    return errorFrame(this.#deps.channel, fault, id);
  }

  #answerRefused(
    socket: WebSocket,
    verdict: Exclude<FrameVerdict, "admitted" | "flood">,
    ids: readonly string[],
  ): void {
    for (const { fault, id } of this.#rateOf(socket).refusals(verdict, ids)) this.fault(socket, fault, id);
  }

  /** Counts a further frame of an array. */
  #admitsAnother({ socket, identity }: Sender, frame: ParsedFrame): boolean {
    if (identity.kind === "server") return true;
    const verdict = this.#rateOf(socket).take();
    const id = idOf(frame);
    if (verdict === "flood") this.#closeFlood(socket, this.#deps.sockets.groupOf(socket) ?? "");
    else if (verdict !== "admitted") this.#answerRefused(socket, verdict, id === undefined ? [] : [id]);
    return verdict === "admitted";
  }

  /** Handles a frame. Returns the answer that may be sent ahead of waiting frames, if any. */
  #handleOne(sender: Sender, parsed: ParsedFrame): string | undefined {
    const frame = this.#forThisChannel(parsed);
    const id = idOf(parsed);
    const done = frame.ok ? this.#answer(sender, frame.value) : frame;
    if (!done.ok) return this.#errorFrame(done.fault, id);
    return id === undefined || done.value === ANSWERED ? undefined : ackFrame(this.#deps.channel, id, done.value);
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

  /** Refuses a frame for another channel. */
  #forThisChannel(frame: ParsedFrame): Result<ClientFrame> {
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

  #answer(sender: Sender, frame: ClientFrame): Result<Accepted | typeof ANSWERED> {
    switch (frame.action) {
      case "join":
        return this.#join(sender, frame);
      case "leave":
        return this.#leave(sender, frame.options?.id);
      case "history":
        return this.#history(sender, frame.options?.id);
      case "message":
        return this.#message(sender, frame);
      case "event":
        return ONLY_API_KEYS;
      case "presence":
        return this.#presence(sender, frame);
    }
  }

  #join(sender: Sender, { options, payload }: JoinFrame): Result<typeof ANSWERED> {
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
    const resume = options?.after === undefined ? undefined : this.#resume(options.after, sender, isAllowed);

    const isNew = !sockets.hasJoined(socket);
    // Announced before the socket joins, so only the other clients get the update.
    if (isNew && identity.kind !== "server") presence.joined(client);
    sockets.join(socket, granted.presence);
    if (granted.presence) presence.watching(socket);
    const frames = [joinFrame(channel, client, { id: options?.id, seq, granted, ...resume?.answer })];
    if (resume?.missed) frames.push(...resume.missed);
    else if (granted.history) frames.push(this.#historyFrame(sender));
    if (granted.presence) frames.push(presenceFullFrame(channel, sockets.members(MAX_LISTED_MEMBERS)));
    sockets.send(socket, ...frames);
    return DONE;
  }

  #leave({ socket }: Sender, id: string | undefined): Result<typeof ANSWERED> {
    this.#deps.sockets.leave(socket);
    this.#deps.sockets.send(socket, leaveFrame(this.#deps.channel, id));
    return DONE;
  }

  #message(sender: Sender, { options, payload }: MessageFrame): Result<Accepted> {
    const { settings } = this.#deps;
    const { socket, identity, client } = sender;
    const written = messageText(payload, "payload");
    if (!written.ok) return written;
    const message = { ...sendable(options, written.value), client: JSON.stringify(client), database: null };
    const authenticated = options?.authenticated === true && message.to === undefined;
    const allowed = authorize(identity, messageAction(message, authenticated), settings.current);
    if (!allowed.ok) return allowed;
    const database = authenticated ? (settings.current?.database ?? null) : null;
    // Without a database the message would not be restricted, and every client would see it.
    if (authenticated && database === null) return NO_AUTH_DATABASE;
    return this.#accept({ who: identity, socket }, "message", { ...message, database });
  }

  /** Publishes consecutive events of an API-key client, as `POST /messages` does. Returns the answers. */
  #publish({ socket, identity }: Sender, frames: readonly EventFrame[]): string[] {
    const events = frames.map((frame) => this.#newEvent(frame));
    const messages = events.flatMap((event) => (event.ok ? event.value : []));
    const results = this.#deps.publisher.publish({ who: identity, socket }, messages, this.#budgetOf(socket)).values();
    return events.flatMap((event, index) => {
      const id = frames[index]?.options?.id;
      const result = event.ok ? underOptions(results.next().value ?? UNAVAILABLE) : event;
      if (!result.ok) return this.#errorFrame(result.fault, id);
      return id === undefined ? [] : ackFrame(this.#deps.channel, id, result.value);
    });
  }

  #newEvent({ options, payload }: EventFrame): Result<NewMessage> {
    const written = messageText(payload, "payload");
    if (!written.ok) return written;
    const client = this.#senderOf(options?.sender);
    if (!client.ok) return client;
    const attributed = client.value && JSON.stringify(client.value);
    const message = { ...sendable(options, written.value), client: attributed, database: options?.database ?? null };
    return { ok: true, value: message };
  }

  /** Returns the client to which an event is attributed, null if it names none. */
  #senderOf(sender: { database: string; id: number | string } | undefined): Result<Client | null> {
    if (sender === undefined) return { ok: true, value: null };
    const dbo_id = this.#deps.databases.numberOf(sender.database);
    if (!dbo_id.ok) return dbo_id;
    const permissions = { dbo_id: dbo_id.value, row_id: sender.id };
    return { ok: true, value: { socketId: "", permissions, extras: {} } };
  }

  #accept(origin: Origin & { socket: WebSocket }, action: "event" | "message", message: NewMessage): Result<Accepted> {
    const [accepted] = this.#deps.publisher.accept(origin, action, [message], this.#budgetOf(origin.socket));
    return underOptions(accepted ?? UNAVAILABLE);
  }

  /** Sets the state of a member (PRE7). */
  #presence({ socket, identity }: Sender, { payload }: PresenceFrame): Result<null> {
    const { sockets, presence } = this.#deps;
    if (!sockets.hasJoined(socket)) return NOT_JOINED;
    if (identity.kind === "server") return NO_MEMBER;
    if (isLongerThan(JSON.stringify(payload), MAX_STATE_BYTES)) return tooLarge(MAX_STATE_BYTES, { field: "payload" });
    presence.updated(...sockets.setState(socket, payload));
    return NOTHING_STORED;
  }

  #budgetOf(socket: WebSocket): SenderBudget {
    return this.#deps.budgets.of(this.#deps.sockets.groupOf(socket) ?? "", socket);
  }

  #history(sender: Sender, id: string | undefined): Result<typeof ANSWERED> {
    const { socket, identity } = sender;
    const allowed = authorize(identity, "history", this.#deps.settings.current);
    if (!allowed.ok) return allowed;
    const tooOften = this.#historyRateFault(socket, identity);
    if (tooOften) return { ok: false, fault: tooOften };
    this.#deps.sockets.send(socket, this.#historyFrame(sender, id));
    return DONE;
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
    { socket, identity: who }: Sender,
    isAllowed: (action: "receive" | "history") => boolean,
  ): { answer: Resume; missed?: string[] } {
    const { channel, log } = this.#deps;
    if (!isAllowed("receive")) return { answer: { resumed: true, replayed: 0 } };
    const count = log.last - after;
    if (count < 0) return { answer: { resumed: false, reason: "ahead" } };
    if (count > 0 && !isAllowed("history")) return { answer: { resumed: false, reason: "no-history" } };
    const isTooMuch = count > MAX_REPLAY_MESSAGES || (count > 0 && this.#isBusy(socket));
    const replayed = isTooMuch ? [] : takeWithin(log.read({ from: after + 1, to: log.last }), MAX_PAGE_CHARACTERS);
    if (replayed.length < count) {
      return { answer: { resumed: false, reason: "too-far-behind", next: historyPath(channel, `after=${after}`) } };
    }
    const missed = replayed.filter((message) => mayRead(who, message)).map((message) => this.#frameFor(who, message));
    this.#countReplay(missed);
    return { answer: { resumed: true, replayed: missed.length }, missed };
  }

  /** Returns a message as this client gets it: its own messages have their ids. */
  #frameFor(who: Identity, message: LoggedMessage): string {
    return messageFrame(this.#deps.channel, message, ownId(who, message.key));
  }

  /** @param id The id of the `history` that the frame answers, if it had one. */
  #historyFrame({ socket, identity: who }: Sender, id?: string): string {
    const { channel, log, settings } = this.#deps;
    const depth = settings.current?.message_history || DEFAULT_PAGE_SIZE;
    const visible = log.read({ from: 1, to: log.last }, "DESC").filter((message) => mayRead(who, message));
    const budget = this.#isBusy(socket) ? MAX_BUSY_HISTORY_CHARACTERS : MAX_PAGE_CHARACTERS;
    const latest = takeWithin(visible.take(depth), budget).toReversed();
    const messages = messageFrames(latest, (message) => this.#frameFor(who, message));
    const frame = historyFrame(channel, log.last, messages, id);
    this.#countReplay([frame]);
    return frame;
  }

  /** Whether the channel is sending too many replays, or this client has not confirmed enough of its text. */
  #isBusy(socket: WebSocket): boolean {
    return this.#replays.take(Date.now(), 0) > 0 || this.#deps.sockets.isBehind(socket);
  }

  #countReplay(frames: readonly string[]): void {
    const characters = frames.reduce((sum, { length }) => sum + length, 0);
    this.#replays.take(Date.now(), characters);
  }
}

/** Returns the fields of a message that its frame gives. */
function sendable(options: MessageFrame["options"] | EventFrame["options"], payload: string) {
  const { id, type = null, ephemeral = false, except } = options ?? {};
  return { payload, id, type, ephemeral, except, to: options && recipientOf(options) };
}

function messageAction({ to }: Pick<NewMessage, "to">, authenticated: boolean) {
  if (to) return "message-private";
  return authenticated ? "message-authenticated" : "message";
}

/** Names the field of a refusal as it is called in a frame. */
function underOptions<T>(result: Result<T>): Result<T> {
  if (result.ok || result.fault.field === undefined) return result;
  const field = result.fault.field === "Idempotency-Key" ? "id" : result.fault.field;
  return { ok: false, fault: { ...result.fault, field: `options.${field}` } };
}
