import { DurableObject } from "cloudflare:workers";
import { type Action, authorize, type Identity, mayRead } from "../auth/policy.ts";
import { isRevoked, REVOKED } from "../settings/revocations.ts";
import { SettingsStore } from "../settings/channel-settings.ts";
import { tryD1 } from "../shared/try-d1.ts";
import type { LogPage } from "../archive/page.ts";
import { endOf, latestRun, type PageBounds, pageRange, takeWithin } from "../archive/range.ts";
import { HistoryStore } from "../archive/store.ts";
import { blockEnd, type LogPositions } from "../archive/times.ts";
import { logFailure } from "../shared/logging.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Fault, Result } from "../protocol/errors.ts";
import { parseFrames } from "../protocol/client-frame.ts";
import { presenceUpdateFrame, type StoredMessage } from "../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import {
  MAX_PAGE_CHARACTERS,
  MAX_PAGE_SIZE,
  MAX_SOCKETS,
  MAX_SOCKETS_PER_ADDRESS,
  MAX_SOCKETS_PER_USER,
  RESERVED_SOCKETS,
} from "../protocol/limits.ts";
import { Alarm } from "./alarm.ts";
import { Archiver } from "./archiver.ts";
import { SenderBudgets } from "./budgets.ts";
import { FrameHandler } from "./frame-handler.ts";
import { withDeadline } from "../shared/deadline.ts";
import { identityOf } from "./identity-header.ts";
import { IdempotencyKeys } from "./idempotency-keys.ts";
import { MessageLog, withoutKey } from "./message-log.ts";
import { Metrics } from "./metrics.ts";
import { PresenceFeed } from "./presence-feed.ts";
import { type Accepted, dependsOnSettings, Publisher, type Submission } from "./publisher.ts";
import { AnonymousQuota } from "./quota.ts";
import { SetAside } from "./set-aside.ts";
import type { EffectiveSettings } from "../settings/channel-settings.ts";
import { SettingsCopy, UNAVAILABLE } from "./settings.ts";
import { SERVER_GROUP, Sockets, userGroup } from "./sockets.ts";
import { SenderDatabases } from "./sender-databases.ts";

/** The bindings that a channel object uses. */
export interface ChannelEnv {
  DB: D1Database;
  /** Takes the object's metrics, if the deployment has the binding (docs/guides/operating.md). */
  METRICS?: AnalyticsEngineDataset;
}

/** Carries the selected subprotocol: from the Worker to the object, and from the object to the client. */
export const PROTOCOL_HEADER = "Sec-WebSocket-Protocol";

/** Carries the client's address, as limits count it, from the Worker to the object. */
export const ADDRESS_HEADER = "X-Address";
/** Carries the `socketId`, by which other clients know this client, from the Worker to the object. */
export const SOCKET_ID_HEADER = "X-Socket-Id";
/** Carries the framing that the client chose, `batch` or `single`, from the Worker to the object. */
export const FRAMES_HEADER = "X-Frames";

/** The state of a channel, and the positions of certain times in its log. */
export interface ChannelState extends LogPositions {
  /** The channel's last `seq`. */
  last: number;
  /** The last archived `seq`. */
  archived: number;
  /** The number of messages that are not archived yet, and how many such messages the log can hold. */
  backlog: number;
  capacity: number;
  /** The number of open sockets, and how many of them have joined. */
  sockets: number;
  joined: number;
}

/** The time limit for D1 while a caller waits. */
const D1_TIMEOUT_MS = 5_000;
/** The time limit for starting the log, which needs two round trips to D1. */
const START_TIMEOUT_MS = 15_000;

/** The interval between checks for expired tokens during a run of the archiver. The alarm cannot fire then. */
const EXPIRY_CHECK_MS = 1_000;

/** One channel: orders its messages, stores them, delivers them, and archives them. */
export class ChannelObject extends DurableObject<ChannelEnv> {
  readonly #name: string;
  readonly #log: MessageLog;
  readonly #sockets: Sockets;
  readonly #settings: SettingsCopy;
  readonly #archive: HistoryStore;
  readonly #publisher: Publisher;
  readonly #frameHandler: FrameHandler;
  readonly #presence: PresenceFeed;
  readonly #budgets = new SenderBudgets();
  readonly #alarm: Alarm;
  readonly #metrics: Metrics;
  readonly #setAside: SetAside;
  readonly #archiver: Archiver;
  readonly #senderDatabases: SenderDatabases;
  #starting: Promise<void> | undefined;
  /** The commit in progress, if any. */
  #committing: Promise<void> | undefined;
  /** The events of sockets that wait for it, and the handling of them. */
  readonly #events: { handle: () => void; databases: readonly string[] }[] = [];
  #handling: Promise<void> | undefined;

  constructor(ctx: DurableObjectState, env: ChannelEnv) {
    super(ctx, env);
    this.#name = nameOf(ctx.id);
    this.#archive = new HistoryStore(env.DB);
    this.#settings = new SettingsCopy(ctx.storage.kv, () => new SettingsStore(env.DB).resolve(this.#name), {
      changed: () => this.#applySettings(),
      failed: (error) => logFailure("D1 did not answer", error, { channel: this.#name }),
    });
    this.#log = new MessageLog(ctx.storage);
    if (this.#log.isStored) this.#settings.store();
    this.#alarm = new Alarm(ctx.storage);
    this.#metrics = new Metrics(this.#name, env.METRICS);
    this.#sockets = new Sockets(
      ctx,
      () => (this.#settings.isKnown ? this.#settings.current : undefined),
      (client) => this.#presence.left(client),
      this.#metrics,
    );
    this.#presence = new PresenceFeed({
      isWatched: () => this.#sockets.isWatched,
      announce: (action, client, except) =>
        this.#sockets.announce(presenceUpdateFrame(this.#name, action, client), client, except),
      notify: (watcher, action, client) =>
        this.#sockets.notify(watcher, presenceUpdateFrame(this.#name, action, client)),
    });
    // The object accepts a socket only after its log has started. So if there are sockets and no stored log, the log is
    // empty.
    if (!this.#log.started && this.#sockets.count() > 0) this.#log.start([]);
    this.#senderDatabases = new SenderDatabases(env.DB, () => this.#settings.effective);
    this.#setAside = new SetAside(ctx.storage);
    this.#archiver = new Archiver({
      channel: this.#name,
      log: this.#log,
      setAside: this.#setAside,
      archive: this.#archive,
      metrics: this.#metrics,
    });
    const shared = { channel: this.#name, log: this.#log, sockets: this.#sockets, settings: this.#settings };
    const quota = new AnonymousQuota(
      ctx.storage.kv,
      this.#log,
      () => this.#settings.current?.anonymous_bytes_per_day ?? null,
    );
    this.#publisher = new Publisher({
      ...shared,
      keys: new IdempotencyKeys(ctx.storage, this.#log),
      quota,
      onStored: () => this.#onStored(),
    });
    this.#frameHandler = new FrameHandler({
      ...shared,
      metrics: this.#metrics,
      presence: this.#presence,
      budgets: this.#budgets,
      publisher: this.#publisher,
      databases: this.#senderDatabases,
    });
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE));
    // The runtime stops retrying an alarm after six failures. This makes sure that an alarm is set if work is due.
    if (this.#nextDue < Infinity) {
      void ctx.blockConcurrencyWhile(async () => {
        await this.#alarm.recall();
        this.#schedule();
      });
    }
  }

  /**
   * Stores messages in order and in one commit, and delivers them.
   *
   * @returns For each submission, one result per message. A message whose idempotency key is known gets its original
   *   result.
   */
  async publish(submissions: readonly Submission[]): Promise<Result<Accepted>[][]> {
    if (this.#needsFreshSettings(submissions)) await this.#refreshSettingsFor(submissions);
    if (!this.#log.started && this.#allowsAny(submissions)) {
      await this.#ensureStarted();
      if (this.#needsFreshSettings(submissions)) await this.#refreshSettingsFor(submissions);
    }
    // Group commit: callers that arrive during a commit wait for it, and then share the next commit.
    if (this.#committing) await this.#committing;
    // There is no await below, so a message is stored under the same settings that allowed it.
    return submissions.map((submission) => this.#store(submission));
  }

  #store({ who, address, messages }: Submission): Result<Accepted>[] {
    if (this.#log.started) return this.#publisher.publish({ who }, messages, this.#budgets.of(groupOf(who, address)));
    return messages.map((message) => {
      const allowed = this.#publisher.authorize(who, message);
      return allowed.ok ? UNAVAILABLE : allowed;
    });
  }

  /**
   * Whether this publish must wait for fresh settings, either to authorize the messages or to decide which subscribers
   * receive them.
   */
  #needsFreshSettings(submissions: readonly Submission[]): boolean {
    const needed = this.#sockets.subscribed > 0 || submissions.some(isDecidedBySettings);
    return needed && !this.#settings.isUsable();
  }

  /** Without settings, the sockets' attachments decide which subscribers receive messages, so that wait is short. */
  #refreshSettingsFor(submissions: readonly Submission[]): Promise<void> {
    return submissions.some(isDecidedBySettings) ? this.#settings.refreshed() : this.#settings.refreshedBriefly();
  }

  #allowsAny(submissions: readonly Submission[]): boolean {
    return submissions.some(({ who, messages }) =>
      messages.some((message) => this.#publisher.authorize(who, message).ok),
    );
  }

  /**
   * Returns the part of a history page that is in the log, and the range of positions that the caller must read from
   * the archive.
   */
  async history(who: Identity, bounds: PageBounds): Promise<Result<LogPage>> {
    const admitted = await this.#admit(who, "history");
    if (!admitted.ok) return admitted;
    const { last, oldest } = this.#log;
    const { from, to, direction } = pageRange(bounds, last);
    const forward = direction === "forward";
    const logged = takeWithin(this.#log.read({ from, to }, forward ? "ASC" : "DESC"), MAX_PAGE_CHARACTERS);
    const fromLog = logged.map(withoutKey);
    const messages = forward ? fromLog : fromLog.toReversed();
    // If a backward page filled up within the log, it needs nothing from the archive.
    const endedEarly = !forward && to >= oldest && messages[0]?.seq !== Math.max(from, oldest);
    const archived = endedEarly ? { from: 1, to: 0 } : { from, to: Math.min(to, oldest - 1) };
    const next = { from: forward ? from : (bounds.first ?? 1), to: Math.min(endOf(bounds, last), oldest - 1) };
    const setAside = this.#setAside.read(next, direction);
    return { ok: true, value: { last, range: { from, to }, direction, messages, archived, oldest, setAside } };
  }

  /**
   * Returns, for each time, the first position in the log whose message has that time or a later one.
   *
   * @param times In milliseconds since the epoch.
   */
  async locate(who: Identity, times: readonly number[]): Promise<Result<LogPositions>> {
    const admitted = await this.#admit(who, "history");
    if (!admitted.ok) return admitted;
    const positions = this.#log.positionsAt(times);
    const visible = who.kind === "server" ? positions : positions.map((position) => this.#firstVisible(who, position));
    return { ok: true, value: { oldest: this.#log.oldest, positions, visible } };
  }

  /**
   * Returns the first position in this position's block (archive/times.ts), from this position on, whose message the
   * reader may see. If there is none, returns the first position after the block.
   */
  #firstVisible(who: Identity, position: number): number {
    const to = Math.min(blockEnd(position), this.#log.last);
    for (const message of this.#log.read({ from: position, to })) if (mayRead(who, message)) return message.seq;
    return to + 1;
  }

  /**
   * Returns the channel's state, and the positions of these times in its log. The Worker calls it for API-key clients
   * only.
   *
   * @param times In milliseconds since the epoch.
   */
  async state(times: readonly number[]): Promise<Result<ChannelState>> {
    const ready = await this.#ensureStarted();
    if (!ready.ok) return ready;
    this.#schedule();
    const { last, archived, backlog, capacity, oldest } = this.#log;
    const positions = this.#log.positionsAt(times);
    const [sockets, joined] = [this.#sockets.count(), this.#sockets.subscribed];
    return { ok: true, value: { last, archived, backlog, capacity, sockets, joined, oldest, positions } };
  }

  /**
   * Returns the members as JSON text, `{total, presence}`.
   *
   * @param limit The largest number of members to list. `total` counts all of them.
   */
  async presence(who: Identity, limit: number): Promise<Result<string>> {
    const admitted = await this.#admit(who, "presence");
    return admitted.ok ? { ok: true, value: JSON.stringify(this.#sockets.members(limit)) } : admitted;
  }

  /**
   * Replaces the channel's settings.
   *
   * @param effective The settings that hold for the channel, null if none hold.
   * @param ageMs The time since they were read from D1, in milliseconds.
   */
  configure(effective: EffectiveSettings | null, ageMs: number): void {
    this.#settings.set(effective, ageMs);
  }

  /**
   * Returns the last known settings, undefined if none are known. Does not ask D1: the Worker calls it while D1 does
   * not answer.
   */
  lastKnownSettings(): { value: EffectiveSettings | null } | undefined {
    return this.#settings.lastKnown;
  }

  /**
   * Accepts a socket. A refusal is a response whose body is the fault as JSON. The Worker makes a problem or an `error`
   * frame of it.
   */
  override async fetch(request: Request): Promise<Response> {
    const who = identityOf(request.headers);
    const admitted = await this.#admit(who, "subscribe");
    const group = groupOf(who, request.headers.get(ADDRESS_HEADER) ?? undefined);
    const fault = admitted.ok ? this.#limitFault(who, group) : admitted.fault;
    if (fault) return Response.json(fault, { status: 403 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.#sockets.accept(server, group, {
      socketId: request.headers.get(SOCKET_ID_HEADER) ?? "",
      identity: who,
      batch: request.headers.get(FRAMES_HEADER) === "batch",
    });
    this.#schedule();
    const protocol = request.headers.get(PROTOCOL_HEADER);
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: protocol === null ? {} : { [PROTOCOL_HEADER]: protocol },
    });
  }

  override webSocketMessage(socket: WebSocket, data: string | ArrayBuffer): Promise<void> | void {
    if (!this.#frameHandler.admits(socket, data)) return;
    const frames = parseFrames(data);
    const databases = this.#senderDatabases.missingFor(frames);
    return this.#handleInOrder(() => {
      // The socket may have been closed in the meantime, for example by the settings that this frame waited for.
      if (!this.#sockets.isOpen(socket)) return;
      if (this.#canAuthorize(socket)) this.#frameHandler.handle(socket, frames);
      else this.#frameHandler.refuseAll(socket, UNAVAILABLE.fault, frames);
      this.#schedule();
    }, databases);
  }

  override webSocketClose(socket: WebSocket, code: number, reason: string): Promise<void> | void {
    return this.#handleInOrder(() => this.#sockets.close(socket, code, reason));
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.close(socket, 1011, "");
  }

  /**
   * Closes the sockets of expired tokens and of clients that are gone, and archives the backlog. Never throws: the
   * archiver schedules its own retries, because the runtime's retries end.
   */
  override async alarm(): Promise<void> {
    this.#alarm.clear();
    this.#sockets.dropStale();
    this.#closeExpired();
    // No other alarm fires until this handler returns, and D1 can be slow.
    const expiry = setInterval(() => this.#closeExpired(), EXPIRY_CHECK_MS);
    try {
      await this.#archiver.run();
    } finally {
      clearInterval(expiry);
      const { failures } = this.#archiver;
      this.#metrics.report({ joined: this.#sockets.subscribed, backlog: this.#log.backlog, failures });
      this.#schedule();
    }
  }

  /** Called after messages were stored: the settings are stored from now on, too, and the archiver has work. */
  #onStored(): void {
    this.#committing ??= this.#commit();
    this.#settings.store();
    this.#schedule();
  }

  /** The time at which the alarm must fire, in milliseconds since the epoch; Infinity if nothing is due. */
  get #nextDue(): number {
    return Math.min(this.#archiver.nextRun, this.#sockets.nextExpiry, this.#sockets.nextGone);
  }

  /** Sets the alarm for the next due time, if there is one. */
  #schedule(): void {
    const due = this.#nextDue;
    if (due < Infinity) this.#alarm.scheduleNoLaterThan(due);
  }

  #closeExpired(): void {
    for (const socket of this.#sockets.expired(Date.now())) {
      this.#frameHandler.fault(socket, {
        code: "unauthorized",
        detail: "The token has expired. Connect again with a new one.",
      });
      this.#sockets.close(socket, CLOSE.expired, "token expired");
    }
  }

  /**
   * Applies changed settings to the open sockets. Sockets of clients that are disconnected or no longer admitted get an
   * `error` and are closed.
   */
  #applySettings(): void {
    for (const socket of this.#sockets.clients()) {
      const { identity } = this.#sockets.attachment(socket);
      const allowed = this.#authorize(identity, "subscribe");
      if (allowed.ok) continue;
      this.#frameHandler.fault(socket, allowed.fault);
      if (allowed === REVOKED) this.#sockets.close(socket, CLOSE.expired, "disconnected");
      else this.#sockets.close(socket, CLOSE.forbidden, allowed.fault.code);
    }
    this.#sockets.applySettings();
  }

  /** Authorizes by the settings and the revocations that this object knows. The Worker's copies may be older. */
  #authorize(who: Identity, action: Action): Result<null> {
    return isRevoked(who, this.#settings.revocations) ? REVOKED : authorize(who, action, this.#settings.current);
  }

  /** Waits until everything that was stored so far is durable. If that fails, the runtime resets the object. */
  async #commit(): Promise<void> {
    try {
      await this.ctx.storage.sync();
    } finally {
      this.#committing = undefined;
    }
  }

  /**
   * Handles a socket's event: at once, or after the commit in progress, together with all events that arrive until
   * then. They share the next commit (group commit), and take effect in the order of their arrival.
   *
   * @param databases The auth databases whose numbers must be loaded first.
   */
  #handleInOrder(handle: () => void, databases: readonly string[] = []): Promise<void> | void {
    if (!this.#committing && this.#events.length === 0) return this.#handleNow(handle, databases);
    this.#events.push({ handle, databases });
    return (this.#handling ??= this.#handleAll());
  }

  async #handleAll(): Promise<void> {
    try {
      await this.#committing;
      for (let event = this.#events[0]; event; event = this.#events[0]) {
        // An await for each event would give each event a commit of its own.
        const unfinished = this.#handleNow(event.handle, event.databases);
        if (unfinished) await unfinished;
        this.#events.shift();
      }
    } finally {
      this.#handling = undefined;
      // After an error, the other events are still handled.
      if (this.#events.shift() && this.#events.length > 0) this.#handling = this.#handleAll();
    }
  }

  /** Handles a socket's event: at once if the settings are fresh. Otherwise no other event arrives until they are. */
  #handleNow(handle: () => void, databases: readonly string[]): Promise<void> | void {
    if (this.#settings.isUsable() && databases.length === 0) return handle();
    return this.#handlePrepared(handle, databases);
  }

  async #handlePrepared(handle: () => void, databases: readonly string[]): Promise<void> {
    const failure = await this.ctx.blockConcurrencyWhile(async () => {
      try {
        await this.#settings.refreshedWhileBlocking();
        if (databases.length > 0) await this.#senderDatabases.load(databases);
        handle();
      } catch (error) {
        // An error thrown inside `blockConcurrencyWhile` would reset the object.
        return { error };
      }
    });
    if (failure) throw failure.error;
  }

  /**
   * Whether this client's actions can be authorized. An object that stores nothing loses its settings when it
   * hibernates.
   */
  #canAuthorize(socket: WebSocket): boolean {
    return this.#settings.isKnown || this.#sockets.attachment(socket).identity.kind === "server";
  }

  /**
   * Authorizes a caller by fresh settings, and makes sure that the log has started. Also sets the alarm again if it was
   * lost.
   */
  async #admit(who: Identity, action: Action): Promise<Result<null>> {
    this.#schedule();
    if (who.kind !== "server") {
      if (!this.#settings.isUsable()) await this.#settings.refreshed();
      if (!this.#settings.isKnown) return UNAVAILABLE;
    }
    const allowed = this.#authorize(who, action);
    if (!allowed.ok || this.#log.started) return allowed;
    const ready = await this.#ensureStarted();
    // The settings may have changed while the log started.
    return ready.ok ? this.#admit(who, action) : ready;
  }

  /** Makes sure that the log has started, so that it knows the channel's last `seq`. */
  #ensureStarted(): Promise<Result<void>> {
    const start = async () => {
      if (!this.#log.started) await withDeadline(D1_TIMEOUT_MS, (this.#starting ??= this.#startLog()));
    };
    return tryD1(start, { channel: this.#name }, UNAVAILABLE.fault.detail);
  }

  /**
   * Starts the log from the archive, so that numbering never starts again at 1, even if the object lost its storage.
   * Continues after its callers have given up waiting, so a slow D1 only delays the start.
   */
  async #startLog(): Promise<void> {
    try {
      // Load the settings, too, so that the channel knows them if D1 fails later.
      const loaded = Promise.all([this.#latestArchived(), this.#settings.refreshed()]);
      const [archived] = await withDeadline(START_TIMEOUT_MS, loaded);
      this.#log.start(archived);
      if (this.#log.isStored) this.#settings.store();
    } finally {
      this.#starting = undefined;
    }
  }

  async #latestArchived(): Promise<StoredMessage[]> {
    const range = pageRange({ limit: MAX_PAGE_SIZE }, await this.#archive.lastSeq(this.#name));
    return latestRun(await this.#archive.read(this.#name, range, "backward", MAX_PAGE_CHARACTERS));
  }

  /** Returns the refusal of another socket, undefined if the channel and this group may have one more. */
  #limitFault(who: Identity, group: string): Fault | undefined {
    const capacity = who.kind === "server" ? MAX_SOCKETS + RESERVED_SOCKETS : MAX_SOCKETS;
    if (this.#sockets.count() >= capacity) return fullChannel(capacity);
    if (who.kind === "server") return undefined;
    const isUser = who.kind === "user";
    const limit = isUser ? MAX_SOCKETS_PER_USER : MAX_SOCKETS_PER_ADDRESS;
    if (this.#sockets.count(group) < limit) return this.#frameHandler.refusal(group);
    return tooManySockets(limit, isUser ? "A user" : "The anonymous clients of an address");
  }
}

function isDecidedBySettings({ who, messages }: Submission): boolean {
  return messages.some((message) => dependsOnSettings(who, message));
}

/** Returns the tag for sockets that limits count together. A tag has at most 256 characters. */
function groupOf(who: Identity, address: string | undefined): string {
  if (who.kind === "server") return SERVER_GROUP;
  return who.kind === "user" ? userGroup(who) : `address:${address ?? ""}`.slice(0, 256);
}

function tooManySockets(limit: number, subject: string): Fault {
  return {
    code: "too-many-sockets",
    detail: `${subject} may have at most ${limit} sockets on a channel. Close sockets, or connect again in 30 s.`,
    limit,
    retryAfter: 30,
  };
}

function nameOf({ name }: DurableObjectId): string {
  if (name === undefined) throw new Error("Get a channel object by its name (idFromName), not by a unique id.");
  return name;
}

function fullChannel(limit: number): Fault {
  const detail = `This channel has ${limit} sockets, as many as it may have. Connect again in 30 s.`;
  return { code: "too-many-sockets", detail, limit, retryAfter: 30 };
}
