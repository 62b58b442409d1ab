import { decide } from "../auth/policy.ts";
import { pageRange, takeWithin } from "../history/range.ts";
import { type Fault, refuse, type Result } from "../protocol/errors.ts";
import {
  errorFrame,
  historyFrame,
  joinFrame,
  leaveFrame,
  messageFrame,
  type Resume,
  type StoredMessage,
} from "../protocol/frames.ts";
import { parseJson } from "../protocol/json.ts";
import { DEFAULT_PAGE_SIZE, MAX_PAGE_BYTES, MAX_REPLAY } from "../protocol/limits.ts";
import { historyPath } from "../protocol/paths.ts";
import { ClientFrame, validate } from "../protocol/schemas.ts";
import type { Log, NewMessage } from "./log.ts";
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

const DONE = { ok: true, value: null } as const;

/**
 * What clients say over their sockets, and what they are answered. Nothing in here awaits, so a client's frames take
 * effect in the order in which it sent them, and nothing comes between a join and its replay.
 */
export class Conversation {
  readonly #needs: Needs;

  constructor(needs: Needs) {
    this.#needs = needs;
  }

  /** Takes a frame as it came off the socket. */
  hear(socket: WebSocket, data: string | ArrayBuffer): void {
    const frame = this.#parse(data);
    const done = frame.ok ? this.#answer(socket, frame.value) : frame;
    if (!done.ok) this.fault(socket, done.fault);
  }

  /** Tells a client what is wrong. Its connection stays open. */
  fault(socket: WebSocket, fault: Fault): void {
    this.#needs.sockets.send(socket, errorFrame(this.#needs.channel, fault));
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
        return this.#message(socket, frame.payload);
      case "history":
        return this.#history(socket);
    }
  }

  #join(socket: WebSocket, { options, payload }: JoinFrame): Result<null> {
    const { channel, log, sockets, settings } = this.#needs;
    const { client, identity } = sockets.attachment(socket);
    const allowed = decide(identity, "subscribe", settings.current);
    if (!allowed.ok) return allowed;
    const readable = decide(identity, "history", settings.current).ok;
    const granted = { history: readable && payload?.history === true, presence: false };
    const resume = options?.after === undefined ? undefined : this.#resume(options.after, readable);

    sockets.join(socket);
    sockets.send(socket, joinFrame(channel, client, { seq: log.last, granted, ...resume?.answer }));
    if (resume?.missed) for (const message of resume.missed) sockets.send(socket, messageFrame(channel, message));
    else if (granted.history) this.#sendHistory(socket);
    return DONE;
  }

  #leave(socket: WebSocket): Result<null> {
    this.#needs.sockets.leave(socket);
    this.#needs.sockets.send(socket, leaveFrame(this.#needs.channel));
    return DONE;
  }

  #message(socket: WebSocket, payload: unknown): Result<unknown> {
    const { client, identity } = this.#needs.sockets.attachment(socket);
    const allowed = decide(identity, "message", this.#needs.settings.current);
    if (!allowed.ok) return allowed;
    return this.#needs.accept({ action: "message", client: JSON.stringify(client), payload: JSON.stringify(payload) });
  }

  #history(socket: WebSocket): Result<null> {
    const { identity } = this.#needs.sockets.attachment(socket);
    const allowed = decide(identity, "history", this.#needs.settings.current);
    if (allowed.ok) this.#sendHistory(socket);
    return allowed;
  }

  /** All that came after a position, or why it cannot be replayed whole and where to read on instead. */
  #resume(after: number, readable: boolean): { answer: Resume; missed?: StoredMessage[] } {
    const { channel, log } = this.#needs;
    const count = log.last - after;
    if (count < 0) return { answer: { resumed: false, reason: "ahead" } };
    if (count > 0 && !readable) return { answer: { resumed: false, reason: "no-history" } };
    const missed = count > MAX_REPLAY ? [] : takeWithin(log.read({ from: after + 1, to: log.last }), MAX_PAGE_BYTES);
    if (missed.length === count) return { answer: { resumed: true }, missed };
    return { answer: { resumed: false, reason: "too-far-behind", next: historyPath(channel, `after=${after}`) } };
  }

  #sendHistory(socket: WebSocket): void {
    const { channel, log, sockets, settings } = this.#needs;
    const limit = settings.current?.message_history || DEFAULT_PAGE_SIZE;
    const latest = takeWithin(log.read(pageRange({ limit }, log.last), "DESC"), MAX_PAGE_BYTES).toReversed();
    sockets.send(socket, historyFrame(channel, log.last, latest));
  }
}
