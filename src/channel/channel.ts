import { DurableObject } from "cloudflare:workers";
import { type Action, decide, type Identity, mayRead } from "../auth/policy.ts";
import { isRevoked, REVOKED } from "../auth/revocations.ts";
import { SettingsStore } from "../auth/settings.ts";
import { askD1 } from "../ask-d1.ts";
import type { Env } from "../env.ts";
import type { LogPage } from "../history/page.ts";
import { endOf, latestRun, type PageBounds, pageRange, takeWithin } from "../history/range.ts";
import { HistoryStore } from "../history/store.ts";
import { blockEnd, type LogPositions } from "../history/times.ts";
import { logFailure } from "../logging.ts";
import { CLOSE } from "../protocol/close.ts";
import type { Fault, Result } from "../protocol/errors.ts";
import { presenceUpdateFrame, type StoredMessage } from "../protocol/frames.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import {
  MAX_PAGE_BYTES,
  MAX_PAGE_SIZE,
  MAX_SOCKETS,
  MAX_SOCKETS_PER_ADDRESS,
  MAX_SOCKETS_PER_USER,
  RESERVED_SOCKETS,
} from "../protocol/limits.ts";
import { Alarm } from "./alarm.ts";
import { Archiver } from "./archiver.ts";
import { SenderBudgets } from "./budgets.ts";
import { Conversation } from "./conversation.ts";
import { withDeadline } from "./deadline.ts";
import { identityOf } from "./identity-header.ts";
import { Keys } from "./keys.ts";
import { Log, type Place } from "./log.ts";
import { Metrics } from "./metrics.ts";
import { PresenceFeed } from "./presence-feed.ts";
import { dependsOnSettings, Publisher, type Submission } from "./publisher.ts";
import { AnonymousQuota } from "./quota.ts";
import { SetAside } from "./set-aside.ts";
import { type Holding, SettingsCopy, UNAVAILABLE } from "./settings.ts";
import { SERVER_GROUP, Sockets } from "./sockets.ts";

/** In which the Worker tells the object the chosen subprotocol, and the object the client. */
export const PROTOCOL_HEADER = "Sec-WebSocket-Protocol";

/** In which the Worker tells the object the address that a socket comes from. */
export const ADDRESS_HEADER = "X-Address";
/** In which the Worker tells the object by what id others know the client. */
export const SOCKET_ID_HEADER = "X-Socket-Id";
/** In which the Worker tells the object how the client wants its frames: `batch`, or one by one. */
export const FRAMES_HEADER = "X-Frames";

/** How a channel is doing, and where in its log certain times begin. */
export interface ChannelState extends LogPositions {
  /** The channel's last `seq`. */
  last: number;
  /** Every message up to this `seq` is in the archive. */
  archived: number;
  /** How many messages wait to be archived, and how many may. */
  backlog: number;
  capacity: number;
  /** How many sockets there are, and how many of them have joined. */
  sockets: number;
  joined: number;
}

/** How long D1 may take to answer what a caller waits for, in milliseconds. */
const READ_DEADLINE = 5_000;
/** How long the log may take to start, in milliseconds. It needs two trips to D1. */
const START_TIMEOUT_MS = 15_000;

/** How often tokens are checked while the alarm cannot fire because a run of the archiver is under way, in milliseconds. */
const EXPIRY_CHECK_MS = 1_000;

/** One channel: gives its messages their order, stores them, delivers them, and brings them to the archive. */
export class Channel extends DurableObject<Env> {
  readonly #name: string;
  readonly #log: Log;
  readonly #sockets: Sockets;
  readonly #settings: SettingsCopy;
  readonly #archive: HistoryStore;
  readonly #publisher: Publisher;
  readonly #conversation: Conversation;
  readonly #presence: PresenceFeed;
  readonly #budgets = new SenderBudgets();
  readonly #alarm: Alarm;
  readonly #metrics: Metrics;
  readonly #setAside: SetAside;
  readonly #archiver: Archiver;
  #starting: Promise<void> | undefined;
  /** The commit that is under way. */
  #committing: Promise<void> | undefined;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#name = nameOf(ctx.id);
    this.#archive = new HistoryStore(env.DB);
    this.#settings = new SettingsCopy(ctx.storage.kv, () => new SettingsStore(env.DB).resolve(this.#name), {
      changed: () => this.#reconsider(),
      failed: (error) => logFailure("D1 did not answer", error, { channel: this.#name }),
    });
    this.#log = new Log(ctx.storage);
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
        this.#sockets.announce(presenceUpdateFrame(this.#name, action, client), except),
      tell: (watcher, action, client) => this.#sockets.tell(watcher, presenceUpdateFrame(this.#name, action, client)),
    });
    // Sockets were only accepted after the log had started. Nothing is stored, so it was empty, and still is.
    if (!this.#log.started && this.#sockets.count() > 0) this.#log.start([]);
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
    this.#publisher = new Publisher({ ...shared, keys: new Keys(ctx.storage), quota, stored: () => this.#stored() });
    this.#conversation = new Conversation({
      ...shared,
      metrics: this.#metrics,
      presence: this.#presence,
      budgets: this.#budgets,
      accept: (who, budget, messages) => this.#publisher.acceptWithin(who, budget, messages),
    });
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair(HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE));
    // The runtime gives up on an alarm after six failures that are not ours to catch: see that there is always one.
    if (this.#nextDue < Infinity) {
      void ctx.blockConcurrencyWhile(async () => {
        await this.#alarm.recall();
        this.#schedule();
      });
    }
  }

  /**
   * Stores messages in order and in one commit, and delivers them; for each submission one result a message. One whose key
   * is known already is answered as it was then.
   */
  async publish(submissions: readonly Submission[]): Promise<Result<Place>[][]> {
    if (this.#mustWait(submissions)) await this.#settings.refreshed();
    if (!this.#log.started && this.#allowsAny(submissions)) {
      await this.#ready();
      if (this.#mustWait(submissions)) await this.#settings.refreshed();
    }
    // Group commit: whoever comes while a commit is under way waits for it, and all who waited share the next one.
    if (this.#committing) await this.#committing;
    // Nothing below waits: a message is stored under the same settings that allowed it.
    const results = submissions.map((submission) => this.#store(submission));
    this.#committing ??= this.ctx.storage.sync().finally(() => (this.#committing = undefined));
    return results;
  }

  #store({ who, address, publications }: Submission): Result<Place>[] {
    if (this.#log.started) return this.#publisher.publish(who, publications, this.#budgets.of(groupOf(who, address)));
    return publications.map((publication) => {
      const allowed = this.#publisher.decide(who, publication);
      return allowed.ok ? UNAVAILABLE : allowed;
    });
  }

  /** Whether publishing these messages has to wait for fresh settings: to decide about them, or about who receives them. */
  #mustWait(submissions: readonly Submission[]): boolean {
    const needed = this.#sockets.subscribed > 0 || submissions.some(isDecidedBySettings);
    return needed && !this.#settings.isUsable();
  }

  #allowsAny(submissions: readonly Submission[]): boolean {
    return submissions.some(({ who, publications }) =>
      publications.some((publication) => this.#publisher.decide(who, publication).ok),
    );
  }

  /** Reads what the log holds of a page of history, and says what is left for the archive. */
  async history(who: Identity, bounds: PageBounds): Promise<Result<LogPage>> {
    const admitted = await this.#admit(who, "history");
    if (!admitted.ok) return admitted;
    const { last, oldest } = this.#log;
    const { from, to, direction } = pageRange(bounds, last);
    const forward = direction === "forward";
    const held = takeWithin(this.#log.read({ from, to }, forward ? "ASC" : "DESC"), MAX_PAGE_BYTES);
    const messages = forward ? held : held.toReversed();
    // Reading backward, a page that ended within the log for its size leaves nothing to the archive.
    const endedEarly = !forward && to >= oldest && messages[0]?.seq !== Math.max(from, oldest);
    const archived = endedEarly ? { from: 1, to: 0 } : { from, to: Math.min(to, oldest - 1) };
    const next = { from: forward ? from : (bounds.first ?? 1), to: Math.min(endOf(bounds, last), oldest - 1) };
    const setAside = this.#setAside.read(next, direction);
    return { ok: true, value: { last, range: { from, to }, direction, messages, archived, oldest, setAside } };
  }

  /** Where in the log the messages of certain times begin, in milliseconds since the epoch. */
  async locate(who: Identity, times: readonly number[]): Promise<Result<LogPositions>> {
    const admitted = await this.#admit(who, "history");
    if (!admitted.ok) return admitted;
    const positions = this.#log.positionsAt(times);
    const visible = who.kind === "server" ? positions : positions.map((position) => this.#firstVisible(who, position));
    return { ok: true, value: { oldest: this.#log.oldest, positions, visible } };
  }

  /** Returns the first position from this one on that its reader may know, or the one after its block (history/times.ts). */
  #firstVisible(who: Identity, position: number): number {
    const to = Math.min(blockEnd(position), this.#log.last);
    for (const message of this.#log.read({ from: position, to })) if (mayRead(who, message)) return message.seq;
    return to + 1;
  }

  /** How the channel is doing, and where in its log certain times begin. For the server side; the Worker has seen to that. */
  async state(times: readonly number[]): Promise<Result<ChannelState>> {
    const ready = await this.#ready();
    if (!ready.ok) return ready;
    this.#schedule();
    const { last, archived, backlog, capacity, oldest } = this.#log;
    const positions = this.#log.positionsAt(times);
    const [sockets, joined] = [this.#sockets.count(), this.#sockets.subscribed];
    return { ok: true, value: { last, archived, backlog, capacity, sockets, joined, oldest, positions } };
  }

  /** Who is here, as many as asked for, and how many: the JSON text of `{total, presence}`. */
  async presence(who: Identity, limit: number): Promise<Result<string>> {
    const admitted = await this.#admit(who, "presence");
    return admitted.ok ? { ok: true, value: JSON.stringify(this.#sockets.members(limit)) } : admitted;
  }

  /**
   * Takes over changed settings.
   *
   * @param ageMs How long ago they were read from D1.
   */
  configure(holding: Holding, ageMs: number): void {
    this.#settings.set(holding, ageMs);
  }

  /**
   * Returns the settings as last known, undefined if none are known. Asks nobody: it is for the Worker while D1 does not
   * answer.
   */
  lastKnownSettings(): { value: Holding } | undefined {
    return this.#settings.lastKnown;
  }

  /** Accepts a socket. A refusal is answered with its fault as JSON, for the Worker to put into words. */
  override async fetch(request: Request): Promise<Response> {
    const who = identityOf(request.headers);
    const admitted = await this.#admit(who, "subscribe");
    const group = groupOf(who, request.headers.get(ADDRESS_HEADER) ?? undefined);
    const fault = admitted.ok ? this.#crowded(who, group) : admitted.fault;
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
    if (!this.#conversation.admits(socket)) return;
    return this.#inOrder(() => {
      // Its client may have been disconnected, perhaps by the settings that this frame waited for.
      if (!this.#sockets.holds(socket)) return;
      if (this.#canDecide(socket)) this.#conversation.hear(socket, data);
      else this.#conversation.fault(socket, UNAVAILABLE.fault);
      this.#schedule();
    });
  }

  override webSocketClose(socket: WebSocket, code: number, reason: string): Promise<void> {
    return this.#inOrder(() => this.#sockets.close(socket, code, reason));
  }

  override webSocketError(socket: WebSocket): void {
    this.#sockets.close(socket, 1011, "");
  }

  /**
   * Closes the sockets whose tokens have expired or whose clients are gone, and archives the backlog. Never throws: retries
   * are ours, as the runtime's come to an end.
   */
  override async alarm(): Promise<void> {
    this.#alarm.clear();
    this.#sockets.dropStale();
    this.#expire();
    // No other alarm fires until this one ends, and D1 may take its time.
    const expiry = setInterval(() => this.#expire(), EXPIRY_CHECK_MS);
    try {
      await this.#archiver.run();
    } finally {
      clearInterval(expiry);
      const { failures } = this.#archiver;
      this.#metrics.report({ joined: this.#sockets.subscribed, backlog: this.#log.backlog, failures });
      this.#schedule();
    }
  }

  /** Called after messages were stored. From now on the settings are stored, too, and the archiver has work. */
  #stored(): void {
    this.#settings.store();
    this.#schedule();
  }

  /** When something is due next, in milliseconds since the epoch; Infinity when nothing is. */
  get #nextDue(): number {
    return Math.min(this.#archiver.nextRun, this.#sockets.nextExpiry, this.#sockets.nextGone);
  }

  /** Sees that the alarm fires for what is due next. */
  #schedule(): void {
    const due = this.#nextDue;
    if (due < Infinity) this.#alarm.scheduleNoLaterThan(due);
  }

  #expire(): void {
    for (const socket of this.#sockets.expired(Date.now())) {
      this.#conversation.fault(socket, { code: "unauthorized", detail: "The token has expired." });
      this.#sockets.close(socket, CLOSE.expired, "token expired");
    }
  }

  /** Tells and closes the sockets of clients whom changed settings no longer admit, or who were disconnected. */
  #reconsider(): void {
    for (const socket of this.#sockets.clients()) {
      const { identity } = this.#sockets.attachment(socket);
      const allowed = this.#decide(identity, "subscribe");
      if (allowed.ok) continue;
      this.#conversation.fault(socket, allowed.fault);
      if (allowed === REVOKED) this.#sockets.close(socket, CLOSE.expired, "disconnected");
      else this.#sockets.close(socket, CLOSE.forbidden, allowed.fault.code);
    }
    this.#sockets.reconsider();
  }

  /** Decides by the settings, and by whose tokens are revoked. The Worker may know less than the object. */
  #decide(who: Identity, action: Action): Result<null> {
    return isRevoked(who, this.#settings.revocations) ? REVOKED : decide(who, action, this.#settings.current);
  }

  /**
   * Handles what a socket sent, at once if the settings are fresh. Otherwise the object receives nothing else until they
   * are, so that the events of its sockets take effect in the order in which they arrived, and none piles up in memory.
   */
  async #inOrder(handle: () => void): Promise<void> {
    if (this.#settings.isUsable()) return handle();
    const failure = await this.ctx.blockConcurrencyWhile(async () => {
      try {
        await this.#settings.refreshedWhileBlocking();
        handle();
      } catch (error) {
        // Thrown in here it would reset the object.
        return { error };
      }
    });
    if (failure) throw failure.error;
  }

  /** Whether it can be decided what this client may do. An object that stores nothing forgets its settings as it hibernates. */
  #canDecide(socket: WebSocket): boolean {
    return this.#settings.isKnown || this.#sockets.attachment(socket).identity.kind === "server";
  }

  /**
   * Decides by fresh settings whether a caller may do what it came for, and sees that the log has started and that a lost
   * alarm is replaced.
   */
  async #admit(who: Identity, action: Action): Promise<Result<null>> {
    this.#schedule();
    if (who.kind !== "server") {
      if (!this.#settings.isUsable()) await this.#settings.refreshed();
      if (!this.#settings.isKnown) return UNAVAILABLE;
    }
    const allowed = this.#decide(who, action);
    if (!allowed.ok || this.#log.started) return allowed;
    const ready = await this.#ready();
    // Starting the log takes time, in which the settings may have changed.
    return ready.ok ? this.#admit(who, action) : ready;
  }

  /** Sees that the log knows where the channel's numbering stands. */
  #ready(): Promise<Result<void>> {
    const start = async () => {
      if (!this.#log.started) await withDeadline(READ_DEADLINE, (this.#starting ??= this.#start()));
    };
    return askD1(start, { channel: this.#name }, UNAVAILABLE.fault.detail);
  }

  /**
   * Continues from the archive where the object has no storage: numbering never starts again. Goes on after its callers
   * gave up, so that a slow D1 only delays the start.
   */
  async #start(): Promise<void> {
    try {
      // The settings, too, so that the channel knows them if D1 is away later.
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
    return latestRun(await this.#archive.read(this.#name, range, "backward", MAX_PAGE_BYTES));
  }

  #crowded(who: Identity, group: string): Fault | undefined {
    const most = who.kind === "server" ? MAX_SOCKETS + RESERVED_SOCKETS : MAX_SOCKETS;
    if (this.#sockets.count() >= most) return tooManySockets(most, "the channel");
    if (who.kind === "server") return undefined;
    const [limit, of] =
      who.kind === "user" ? [MAX_SOCKETS_PER_USER, "one user"] : [MAX_SOCKETS_PER_ADDRESS, "one address"];
    return this.#sockets.count(group) >= limit ? tooManySockets(limit, of) : this.#conversation.refusal(group);
  }
}

function isDecidedBySettings({ who, publications }: Submission): boolean {
  return publications.some((publication) => dependsOnSettings(who, publication));
}

/** The tag that sockets share which are counted together; tags have at most 256 characters. */
function groupOf(who: Identity, address: string | undefined): string {
  if (who.kind === "server") return SERVER_GROUP;
  return who.kind === "user" ? `user:${who.dbo_id}:${who.row_id}` : `address:${address ?? ""}`.slice(0, 256);
}

function tooManySockets(limit: number, of: string): Fault {
  return { code: "too-many-sockets", detail: `At most ${limit} sockets of ${of} are held.`, limit, retryAfter: 30 };
}

function nameOf({ name }: DurableObjectId): string {
  if (name === undefined) throw new Error("A channel's object is addressed by its name, never by an id alone.");
  return name;
}
