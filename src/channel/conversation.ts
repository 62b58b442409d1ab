import { decide, type Identity, mayRead } from "../auth/policy.ts";
import { takeWithin } from "../history/range.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import {
  errorFrame,
  historyFrame,
  joinFrame,
  leaveFrame,
  messageFrame,
  presenceFullFrame,
  presenceUpdateFrame,
  privateFrame,
  type Resume,
  type StoredMessage,
} from "../protocol/frames.ts";
import { parseJson } from "../protocol/json.ts";
import {
  DEFAULT_PAGE_SIZE,
  FRAMES_AT_ONCE,
  FRAMES_PER_SECOND,
  MAX_PAGE_BYTES,
  MAX_PRESENCE,
  MAX_REPLAY,
} from "../protocol/limits.ts";
import { historyPath } from "../protocol/paths.ts";
import { ClientFrame, validate } from "../protocol/schemas.ts";
import type { Log, NewMessage } from "./log.ts";
import { Rate } from "./rate.ts";
import type { SettingsCopy } from "./settings.ts";
import type { Sockets } from "./sockets.ts";

interface Needs {
  /** The channel's name. */
  channel: string;
  log: Log;
  sockets: Sockets;
  settings: SettingsCopy;
  /** Stores and delivers. */
  accept: (message: NewMessage) => Result<unknown>;
}

type JoinFrame = Extract<ClientFrame, { action: "join" }>;
type MessageFrame = Extract<ClientFrame, { action: "message" }>;

const DONE = { ok: true, value: null } as const;

/**
 * What clients say over their sockets, and what they are answered. Nothing in here awaits, so a client's frames take
 * effect in the order in which it sent them, and nothing comes between a join and its replay.
 */
export class Conversation {
  readonly #needs: Needs;
  /** Forgotten by hibernation, which needs more quiet than it takes a rate to recover. */
  readonly #rates = new WeakMap<WebSocket, Rate>();

  constructor(needs: Needs) {
    this.#needs = needs;
  }

  /** Takes a frame as it came off the socket. */
  hear(socket: WebSocket, data: string | ArrayBuffer): void {
    const wait = this.#wait(socket);
    if (wait > 0) return this.fault(socket, tooManyFrames(wait));
    const frame = this.#parse(data);
    const done = frame.ok ? this.#answer(socket, frame.value) : frame;
    if (!done.ok) this.fault(socket, done.fault);
  }

  /** Tells a client what is wrong. Its connection stays open. */
  fault(socket: WebSocket, fault: Fault): void {
    this.#needs.sockets.send(socket, errorFrame(this.#needs.channel, fault));
  }

  /** How many seconds a client must wait before its next frame; the server side never does. */
  #wait(socket: WebSocket): number {
    if (this.#needs.sockets.attachment(socket).identity.kind === "server") return 0;
    const now = Date.now();
    const rate = this.#rates.get(socket) ?? new Rate(FRAMES_PER_SECOND, FRAMES_AT_ONCE, now);
    this.#rates.set(socket, rate);
    return rate.take(now);
  }

  #parse(data: string | ArrayBuffer): Result<ClientFrame> {
    if (typeof data !== "string") return refuse("not-text", "Send JSON in a text frame.");
    const json = parseJson(data);
    if (!json.ok) return json;
    const frame = validate(ClientFrame, json.value, "frame");
    if (!frame.ok) return frame;
    const named = frame.value.options?.channel;
    if (named === undefined || named === this.#needs.channel) return frame;
    const field = "options.channel";
    return refuse("invalid-field", `${field} must be this socket's channel, or left out.`, { field });
  }

  #answer(socket: WebSocket, frame: ClientFrame): Result<unknown> {
    switch (frame.action) {
      case "join":
        return this.#join(socket, frame);
      case "leave":
        return this.#leave(socket);
      case "message":
        return this.#message(socket, frame);
      case "history":
        return this.#history(socket);
    }
  }

  #join(socket: WebSocket, { options, payload }: JoinFrame): Result<null> {
    const { channel, log, sockets, settings } = this.#needs;
    const { identity } = sockets.attachment(socket);
    const client = sockets.client(socket);
    const allowed = decide(identity, "subscribe", settings.current);
    if (!allowed.ok) return allowed;
    const may = (action: "history" | "presence") => decide(identity, action, settings.current).ok;
    const granted = {
      history: payload?.history === true && may("history"),
      presence: payload?.presence === true && may("presence"),
    };
    const resume = options?.after === undefined ? undefined : this.#resume(options.after, identity, may("history"));

    const isNew = sockets.join(socket, granted.presence);
    sockets.send(socket, joinFrame(channel, client, { seq: log.last, granted, ...resume?.answer }));
    if (resume?.missed) for (const message of resume.missed) sockets.send(socket, messageFrame(channel, message));
    else if (granted.history) this.#sendHistory(socket);
    if (granted.presence) sockets.send(socket, presenceFullFrame(channel, sockets.members(MAX_PRESENCE)));
    if (isNew && identity.kind !== "server") sockets.announce(presenceUpdateFrame(channel, "join", client), socket);
    return DONE;
  }

  #leave(socket: WebSocket): Result<null> {
    this.#needs.sockets.leave(socket);
    this.#needs.sockets.send(socket, leaveFrame(this.#needs.channel));
    return DONE;
  }

  #message(socket: WebSocket, { options, payload }: MessageFrame): Result<unknown> {
    const { sockets, settings, accept } = this.#needs;
    const { identity } = sockets.attachment(socket);
    const text = JSON.stringify(payload);
    if (options?.socketId !== undefined) return this.#messagePrivately(socket, options.socketId, text);
    const authenticated = options?.authenticated === true;
    const allowed = decide(identity, authenticated ? "message-authenticated" : "message", settings.current);
    if (!allowed.ok) return allowed;
    const database = authenticated ? (settings.current?.database ?? null) : null;
    return accept({ action: "message", client: JSON.stringify(sockets.client(socket)), database, payload: text });
  }

  #messagePrivately(socket: WebSocket, socketId: string, payload: string): Result<null> {
    const { channel, sockets, settings } = this.#needs;
    const { identity } = sockets.attachment(socket);
    const allowed = decide(identity, "message-private", settings.current);
    if (!allowed.ok) return allowed;
    const recipient = sockets.find(socketId);
    if (!recipient || !decide(sockets.attachment(recipient).identity, "receive", settings.current).ok) {
      return refuse("unknown-recipient", "No client of this channel has that socketId.", { field: "options.socketId" });
    }
    sockets.send(recipient, privateFrame(channel, sockets.client(socket), socketId, payload));
    return DONE;
  }

  #history(socket: WebSocket): Result<null> {
    const { identity } = this.#needs.sockets.attachment(socket);
    const allowed = decide(identity, "history", this.#needs.settings.current);
    if (allowed.ok) this.#sendHistory(socket);
    return allowed;
  }

  /** All that came after a position, or why it cannot be replayed whole and where to read on instead. */
  #resume(after: number, who: Identity, readable: boolean): { answer: Resume; missed?: StoredMessage[] } {
    const { channel, log } = this.#needs;
    const count = log.last - after;
    if (count < 0) return { answer: { resumed: false, reason: "ahead" } };
    if (count > 0 && !readable) return { answer: { resumed: false, reason: "no-history" } };
    const held = count > MAX_REPLAY ? [] : takeWithin(log.read({ from: after + 1, to: log.last }), MAX_PAGE_BYTES);
    if (held.length < count) {
      return { answer: { resumed: false, reason: "too-far-behind", next: historyPath(channel, `after=${after}`) } };
    }
    const missed = held.filter((message) => mayRead(who, message));
    return { answer: { resumed: true, replayed: missed.length }, missed };
  }

  #sendHistory(socket: WebSocket): void {
    const { channel, log, sockets, settings } = this.#needs;
    const { identity } = sockets.attachment(socket);
    const depth = settings.current?.message_history || DEFAULT_PAGE_SIZE;
    const visible = log.read({ from: 1, to: log.last }, "DESC").filter((message) => mayRead(identity, message));
    const latest = takeWithin(visible.take(depth), MAX_PAGE_BYTES).toReversed();
    sockets.send(socket, historyFrame(channel, log.last, latest));
  }
}

function tooManyFrames(retryAfter: number): Fault {
  const detail = `At most ${FRAMES_PER_SECOND} frames a second are taken; this one was not.`;
  return { code: "rate-limited", detail, limit: FRAMES_PER_SECOND, retryAfter };
}
