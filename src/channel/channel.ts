import { DurableObject } from "cloudflare:workers";
import { type Action, decide, type Identity } from "../auth/policy.ts";
import { SettingsStore } from "../auth/settings.ts";
import type { Env } from "../env.ts";
import type { LogPage } from "../history/page.ts";
import { pageRange, takeWithin } from "../history/range.ts";
import { HistoryStore } from "../history/store.ts";
import { causeOf, type Fault, refuse, type Result } from "../protocol/errors.ts";
import { messageFrame, type StoredMessage } from "../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import { MAX_PAGE_BYTES, MAX_PAGE_SIZE, MAX_SOCKETS } from "../protocol/limits.ts";
import type { ChannelSettings, HistoryQuery } from "../protocol/schemas.ts";
import { ARCHIVE_DELAY, drain, retryDelay } from "./archiver.ts";
import { Conversation } from "./conversation.ts";
import { withDeadline } from "./deadline.ts";
import { Keys } from "./keys.ts";
import { Log, type NewMessage, type Place } from "./log.ts";
import { SettingsCopy } from "./settings.ts";
import { Sockets } from "./sockets.ts";

/** In which the Worker tells the object who is behind a socket. The object is reached through the Worker only. */
export const IDENTITY_HEADER = "X-Identity";
/** In which the Worker tells the object the chosen subprotocol, and the object the client. */
export const PROTOCOL_HEADER = "Sec-WebSocket-Protocol";

/** The close code of a socket whose client the changed settings no longer admit. */
const CLOSE_FORBIDDEN = 4403;

/** How long D1 may take to answer, in milliseconds: to store a batch, and to tell what a caller waits for. */
const STORE_DEADLINE = 15_000;
const READ_DEADLINE = 5_000;

/** A message to publish: JSON text, and for one that may be sent again, the key and the digest of what it came with. */
export interface Publication {
  payload: string;
  idempotency?: { key: string; digest: string };
}

/** One channel: gives its messages their order, stores them, delivers them, and brings them to the archive. */
export class Channel extends DurableObject<Env> {
  readonly #name: string;
  readonly #log: Log;
  readonly #keys: Keys;
  readonly #sockets: Sockets;
  readonly #settings: SettingsCopy;
  readonly #archive: HistoryStore;
  readonly #conversation: Conversation;
  #starting: Promise<void> | undefined;
  /** Whether an alarm is set, or running, that will archive what is appended now. */
  #armed = false;
  #archiveFailures = 0;
  /** The commit that is under way. */
  #committing: Promise<void> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#name = nameOf(ctx.id);
    this.#archive = new HistoryStore(env.DB);
    this.#settings = new SettingsCopy(ctx.storage.kv, () =>
      withDeadline(READ_DEADLINE, new SettingsStore(env.DB).get(this.#name)),
    );
    this.#log = new Log(ctx.storage);
    this.#keys = new Keys(ctx.storage);
    this.#sockets = new Sockets(ctx);
    this.#conversation = new Conversation({
      channel: this.#name,
      log: this.#log,
      sockets: this.#sockets,
      settings: this.#settings,
      accept: (message) => this.#accept(message),
    });
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE));
    // The runtime gives an alarm up after six failures that are not ours to catch: see that a backlog always has one.
    if (this.#log.backlog > 0) void ctx.blockConcurrencyWhile(() => this.#rearm());
  }

  /**
   * Stores messages in order and in one commit, and delivers them; one result each. One whose key is known already is
   * answered as it was then.
   */
  async publish(who: Identity, publications: readonly Publication[]): Promise<Result<Place>[]> {
    const admitted = await this.#admit(who, "publish");
    if (!admitted.ok) return publications.map(() => admitted);
    // Group commit: whoever comes while a commit is under way waits for it, and all who waited share the next one.
    if (this.#committing) await this.#committing;
    const results = publications.map((publication) => this.#publish(publication));
    this.#committing ??= this.ctx.storage.sync().finally(() => (this.#committing = undefined));
    return results;
  }

  /** Reads what the log holds of a page of history, and says what is left for the archive. */
  async history(who: Identity, query: HistoryQuery): Promise<Result<LogPage>> {
    const admitted = await this.#admit(who, "history");
    if (!admitted.ok) return admitted;
    const { last, oldest } = this.#log;
    const { from, to, direction } = pageRange(query, last);
    const forward = direction === "forward";
    const held = takeWithin(this.#log.read({ from, to }, forward ? "ASC" : "DESC"), MAX_PAGE_BYTES);
    const messages = forward ? held : held.toReversed();
    // Reading backward, a page that ended within the log for its size leaves nothing to the archive.
    const endedEarly = !forward && to >= oldest && messages[0]?.seq !== Math.max(from, oldest);
    const archived = endedEarly ? { from: 1, to: 0 } : { from, to: Math.min(to, oldest - 1) };
    return { ok: true, value: { last, direction, messages, archived } };
  }

  /** Takes over changed settings. Sockets that they no longer admit are told and closed. */
  configure(settings: ChannelSettings | null): void {
    this.#settings.set(settings);
    for (const socket of this.#sockets.ofKind("anonymous")) {
      const allowed = decide(this.#sockets.attachment(socket).identity, "subscribe", settings);
      if (allowed.ok) continue;
      this.#conversation.fault(socket, allowed.fault);
      this.#sockets.close(socket, CLOSE_FORBIDDEN, allowed.fault.code);
    }
  }

  /** Accepts a socket. A refusal is answered with its fault as JSON, for the Worker to put into words. */
  override async fetch(request: Request): Promise<Response> {
    const who = JSON.parse(request.headers.get(IDENTITY_HEADER) ?? "") as Identity;
    const admitted = await this.#admit(who, "subscribe");
    const fault = admitted.ok ? this.#crowded() : admitted.fault;
    if (fault) return Response.json(fault, { status: 403 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.#sockets.accept(server, who);
    const protocol = request.headers.get(PROTOCOL_HEADER);
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: protocol === null ? {} : { [PROTOCOL_HEADER]: protocol },
    });
  }

  override webSocketMessage(socket: WebSocket, data: string | ArrayBuffer): void {
    this.#conversation.hear(socket, data);
  }

  override webSocketClose(socket: WebSocket, code: number, reason: string): void {
    this.#sockets.close(socket, code, reason);
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.close(socket, 1011, "");
  }

  /** Brings the backlog to D1. Never throws: retries are ours, as the runtime's come to an end. */
  override async alarm(): Promise<void> {
    this.#armed = true;
    try {
      await drain({
        unarchived: () => this.#log.unarchived(),
        store: (batch) => withDeadline(STORE_DEADLINE, this.#archive.append(this.#name, batch)),
        markArchived: (seq) => this.#log.markArchived(seq),
      });
      this.#archiveFailures = 0;
      this.#armed = false;
      if (this.#log.backlog > 0) this.#arm(ARCHIVE_DELAY);
    } catch (error) {
      this.#archiveFailures += 1;
      console.error({ message: "archiving failed", failures: this.#archiveFailures, error: causeOf(error) });
      this.#arm(retryDelay(this.#archiveFailures, Math.random()));
    }
  }

  /** Gets ready for a caller and decides whether it may do what it came for. */
  async #admit(who: Identity, action: Action): Promise<Result<null>> {
    try {
      if (!this.#log.started) await (this.#starting ??= this.#start());
      if (who.kind !== "server") await this.#settings.refresh();
    } catch (error) {
      console.error({ message: "D1 did not answer", error: causeOf(error) });
      return refuse("unavailable", "The channel's history or settings cannot be read just now.", { retryAfter: 1 });
    }
    return decide(who, action, this.#settings.current);
  }

  /** Continues from the archive where the object has no storage: numbering never starts again. */
  async #start(): Promise<void> {
    try {
      this.#log.start(await withDeadline(READ_DEADLINE, this.#latestArchived()));
    } finally {
      this.#starting = undefined;
    }
  }

  async #latestArchived(): Promise<StoredMessage[]> {
    const range = pageRange({ limit: MAX_PAGE_SIZE }, await this.#archive.lastSeq(this.#name));
    return this.#archive.read(this.#name, range, "backward", MAX_PAGE_BYTES);
  }

  #publish({ payload, idempotency }: Publication): Result<Place> {
    const message: NewMessage = { action: "event", client: null, payload };
    if (!idempotency) return this.#accept(message);
    const { key, digest } = idempotency;
    const known = this.#keys.find(key);
    if (!known) return this.#accept(message, (place) => this.#keys.remember(key, { digest, ...place }));
    if (known.digest === digest) return { ok: true, value: { seq: known.seq, time: known.time } };
    const detail = "This key came with another message before; a new message needs a new key.";
    return refuse("key-reused", detail, { field: "Idempotency-Key" });
  }

  /**
   * Numbers, stores and delivers in one turn: the output gate lets no frame out before the commit is durable.
   *
   * @param within Stores in the same commit what belongs to the message.
   */
  #accept(message: NewMessage, within?: (place: Place) => void): Result<Place> {
    if (this.#log.room < 1) {
      return refuse("backlog-full", "The channel takes no more until its archive has caught up.", { retryAfter: 5 });
    }
    const stored = this.#log.append(message, within);
    this.#sockets.broadcast(messageFrame(this.#name, stored));
    if (!this.#armed) this.#arm(ARCHIVE_DELAY);
    return { ok: true, value: { seq: stored.seq, time: stored.time } };
  }

  #crowded(): Fault | undefined {
    if (this.#sockets.count < MAX_SOCKETS) return undefined;
    const detail = `The channel holds ${MAX_SOCKETS} sockets, as many as it can.`;
    return { code: "too-many-sockets", detail, limit: MAX_SOCKETS, retryAfter: 30 };
  }

  #arm(delay: number): void {
    this.#armed = true;
    void this.ctx.storage.setAlarm(Date.now() + delay);
  }

  async #rearm(): Promise<void> {
    this.#armed = (await this.ctx.storage.getAlarm()) !== null;
    if (!this.#armed) this.#arm(ARCHIVE_DELAY);
  }
}

function nameOf({ name }: DurableObjectId): string {
  if (name === undefined) throw new Error("A channel's object is addressed by its name, never by an id alone.");
  return name;
}
