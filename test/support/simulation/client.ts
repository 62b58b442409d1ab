import type { Moment } from "./clock.ts";
import type { Content } from "./contents.ts";
import type { Excerpt, Kept, Run, Sender } from "./oracle.ts";
import type { Identity } from "./policy.ts";
import type { ClientPlan, StepOf } from "./schedule.ts";
import { isUser, type Stage } from "./stage.ts";

/** How much a client receives, and how long it waits, before it sends its next heartbeat (CON7). */
const BEAT_EVERY_TEXT = 1024 * 1024;
export const BEAT_EVERY_MS = 30_000;

/** The codes of errors that a join may get. */
const JOIN_REFUSALS: ReadonlySet<string> = new Set(["unauthorized", "forbidden", "unavailable"]);
/** The codes of errors that faults, settings and clients that leave may cause. */
const EXPECTED_ERRORS = new Set([...JOIN_REFUSALS, "not-joined", "unknown-recipient", "rate-limited"]);

/** A frame from the server, with the fields that the simulation reads. */
export interface Frame {
  action: string;
  client?: NonNullable<Sender>;
  options: {
    channel: string;
    seq?: number;
    time?: string;
    resumed?: boolean;
    replayed?: number;
    reason?: string;
    socketId?: string;
  };
  payload: unknown;
}

/** What a connection was opened with. */
export interface Credential {
  /** In milliseconds since the epoch. */
  expires: number;
  /** Whether the server may have refused it at some time between two moments. */
  mayBeRefused: (from: Moment, to: Moment) => boolean;
}

/** A join that was not answered yet. */
interface PendingJoin {
  after: number | undefined;
  from: Moment;
}

/** What a client knows about one of its channels. */
class Subscription {
  readonly channel: string;
  /** The last `seq` that it saw; undefined if it never joined. */
  position: number | undefined;
  run: Run | undefined;
  /** Whether an error may have ended it. Until the next join, its frames are ignored. */
  isDoubtful = false;
  readonly joins: PendingJoin[] = [];

  constructor(channel: string) {
    this.channel = channel;
  }

  /** Ends the run after the last message that the client saw. */
  end(): void {
    if (this.run && this.run.end === undefined) this.run.end = this.run.seen.at(-1) ?? this.run.after;
    this.run = undefined;
  }
}

/** A client with at most one open connection. It reports what it receives to the oracle. */
export class Client {
  readonly name: string;
  readonly plan: ClientPlan;
  readonly channels: readonly Subscription[];
  readonly #stage: Stage;
  #socket: WebSocket | undefined;
  /** How others know it, once it has joined. */
  socketId: string | undefined;
  hasVanished = false;
  /** How far the clock was stepped forward, in milliseconds. To the object, a step looks like missing heartbeats. */
  clockStepped = 0;
  /** Whether one of its objects was reset, or a socket to it broken, at any time. */
  isDisturbed = false;
  /** When its next heartbeat is due, by `elapsed`. */
  nextBeat = Infinity;
  #awaitsPong = false;
  #unconfirmed = 0;
  #credential: Credential = { expires: Infinity, mayBeRefused: () => false };
  /** The ids of private messages that it got. */
  readonly #whispers: string[] = [];
  /** Grows with each frame that it receives. */
  activity = 0;

  constructor(name: string, plan: ClientPlan, stage: Stage) {
    this.name = `${name} (${plan.who}, ${plan.way})`;
    this.plan = plan;
    this.channels = plan.places.map((place) => new Subscription(stage.channels[place]));
    this.#stage = stage;
  }

  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  /** Uses a new connection. */
  take(socket: WebSocket, credential: Credential): void {
    this.#socket = socket;
    this.socketId = undefined;
    this.hasVanished = false;
    this.#credential = credential;
    this.nextBeat = this.plan.beats ? this.#stage.clock.elapsed + BEAT_EVERY_MS : Infinity;
    this.#awaitsPong = false;
    this.#unconfirmed = 0;
    for (const subscription of this.channels) {
      subscription.joins.length = 0;
      subscription.isDoubtful = false;
    }
    socket.addEventListener("message", ({ data }) => {
      if (this.#socket === socket) this.#receive(String(data));
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.#socket === socket) this.#end(code, reason);
    });
    socket.accept();
  }

  join(channel: string, { resume, history, presence }: Omit<StepOf<"join">, "do" | "client">): void {
    const subscription = this.#on(channel);
    const after = resume ? subscription?.position : undefined;
    subscription?.joins.push({ after, from: this.#stage.clock.moment() });
    this.#transmit({ action: "join", options: this.#options(channel, { after }), payload: { history, presence } });
  }

  send(action: "message" | "history" | "leave", channel: string, payload?: unknown, more: object = {}): void {
    this.#transmit({ action, options: this.#options(channel, more), payload });
  }

  disconnect(): void {
    this.#socket?.close(1000);
    this.#end(1000, "its own");
  }

  /** Sends a heartbeat, unless the previous one has no answer yet (CON3). */
  beat(): void {
    this.nextBeat = this.#stage.clock.elapsed + BEAT_EVERY_MS;
    if (this.#awaitsPong || this.hasVanished || !this.#socket) return;
    this.#awaitsPong = true;
    this.#unconfirmed = 0;
    this.#socket.send("ping");
  }

  /** How much text it received since its last heartbeat. */
  get unconfirmed(): number {
    return this.#unconfirmed;
  }

  /** Stops its heartbeats for good, without closing. */
  vanish(): void {
    this.hasVanished = true;
    this.nextBeat = Infinity;
  }

  /** Notes that an injected fault may end its connection. */
  disturb(): void {
    this.isDisturbed = true;
    for (const { run } of this.channels) if (run) run.isDisturbed = true;
  }

  /** Whether it is still connected directly to a channel although its token has expired. */
  get hasExpired(): boolean {
    return this.isOpen && this.plan.way !== "rt" && this.#credential.expires < this.#stage.clock.wall;
  }

  runOn(channel: string): Run | undefined {
    return this.#on(channel)?.run;
  }

  /** Whether it belongs in the channel's presence. Sockets of the API-key client do not count (PRE3). */
  isPresentOn(channel: string): boolean {
    const run = this.runOn(channel);
    return run !== undefined && run.who.kind !== "server";
  }

  #on(channel: string): Subscription | undefined {
    return this.channels.find((subscription) => subscription.channel === channel);
  }

  /** Its identity. A channel without an auth database treats a user on a shared connection as anonymous (MUX4). */
  #identity(isAnonymous = false): Identity {
    const { who } = this.plan;
    return isAnonymous && isUser(who) ? { kind: "anonymous" } : this.#stage.identityOf(who);
  }

  #options(channel: string, more: object): object {
    return this.plan.way === "rt" ? { channel, ...more } : more;
  }

  #transmit(frame: object): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  #end(code: number, reason: string): void {
    if (code !== 1000 || reason !== "its own") this.#checkClose(code, reason);
    this.#socket = undefined;
    this.nextBeat = Infinity;
    this.activity += 1;
    for (const subscription of this.channels) subscription.end();
  }

  #checkClose(code: number, reason: string): void {
    if (this.#mayClose(code, reason)) return;
    this.#stage.oracle.fail("a subscriber is told why it stops", `${this.name} was closed with ${code} ${reason}`);
  }

  #mayClose(code: number, reason: string): boolean {
    const now = this.#stage.clock.moment();
    switch (code) {
      case 1006:
      case 1011:
        return this.isDisturbed;
      case 1012:
        return this.isDisturbed && this.plan.way === "rt";
      case 1013:
        return reason === "slow"
          ? !this.plan.beats || this.hasVanished
          : this.hasVanished || this.clockStepped > 50_000;
      case 4401:
        return this.#credential.expires <= now.wall;
      case 4403:
        return this.channels.some(
          ({ channel }) => !this.#stage.oracle.mustAllow(channel, this.#identity(), "subscribe", now, now),
        );
      default:
        return false;
    }
  }

  #receive(text: string): void {
    this.activity += 1;
    if (text === "pong") {
      this.#awaitsPong = false;
      return;
    }
    this.#unconfirmed += text.length;
    const parsed = JSON.parse(text) as Frame | Frame[];
    for (const frame of Array.isArray(parsed) ? parsed : [parsed]) this.#take(frame);
    if (this.plan.beats && this.#unconfirmed >= BEAT_EVERY_TEXT) this.beat();
  }

  #take(frame: Frame): void {
    const subscription = this.#on(frame.options.channel);
    if (!subscription) return;
    switch (frame.action) {
      case "join":
        return this.#joined(subscription, frame);
      case "event":
      case "message":
        return frame.options.seq === undefined ? this.#whispered(frame) : this.#saw(subscription, frame);
      case "history":
        return this.#stage.oracle.reads(this.#excerpt(subscription, frame));
      case "leave":
        subscription.isDoubtful = false;
        return subscription.end();
      case "error":
        return this.#refused(subscription, frame);
    }
  }

  #joined(subscription: Subscription, { client, options }: Frame): void {
    const { seq = 0, resumed, reason } = options;
    if (this.plan.way !== "rt" || client?.socketId) this.socketId = client?.socketId;
    const join = this.#answered(subscription, resumed !== undefined);
    const isAnonymous = client?.permissions.row_id === 0;
    // A run that is still open must have seen everything up to this answer.
    if (subscription.run) subscription.run.end = seq;
    const after = resumed === true ? (join?.after ?? subscription.position ?? seq) : seq;
    const who = this.#identity(isAnonymous);
    if (join) this.#checkJoin(subscription.channel, who, join, seq, reason);
    const { name, plan, socketId } = this;
    subscription.run = {
      client: name,
      socketId,
      way: plan.way,
      channel: subscription.channel,
      who,
      after,
      joinedAt: seq,
      seen: [],
      end: undefined,
      isDisturbed: this.isDisturbed,
    };
    subscription.position = after;
    subscription.isDoubtful = false;
    this.#stage.oracle.begins(subscription.run);
  }

  /** Finds the join that an answer belongs to. Answers keep the order of the joins; some joins are refused. */
  #answered(subscription: Subscription, isResume: boolean): PendingJoin | undefined {
    const { joins } = subscription;
    if (joins.length === 0) return undefined;
    const index = joins.findIndex(({ after }) => (after !== undefined) === isResume);
    if (index === -1) {
      const rule = this.plan.way === "rt" ? "a /rt/ link that breaks loses nothing" : "a run has no gap and no repeat";
      this.#stage.oracle.fail(
        rule,
        `${this.name} asked to resume on ${subscription.channel}, and got the answer to a join without a position`,
      );
    }
    return joins.splice(0, index + 1).at(-1);
  }

  #checkJoin(channel: string, who: Identity, { after = 0, from }: PendingJoin, seq: number, reason?: string): void {
    const to = this.#stage.clock.moment();
    if (!this.#stage.oracle.mayAllow(channel, who, "subscribe", from, to)) {
      this.#stage.oracle.failSettings(
        channel,
        "a forbidden action fails",
        `${this.name} joined ${channel}, which no settings allowed`,
      );
    }
    const isTrue =
      reason === undefined ||
      (reason === "ahead" && after > seq) ||
      (reason === "no-history" && !this.#stage.oracle.mustAllow(channel, who, "history", from, to)) ||
      (reason === "too-far-behind" && seq - after > 60);
    if (!isTrue)
      this.#stage.oracle.fail(
        "a subscriber is told why it stops",
        `${this.name} got the reason ${reason} after ${after} of ${seq}`,
      );
  }

  /** Reports a refusal that nothing explains. The token of a shared connection may be out of date. */
  #checkRefusal(channel: string, { from }: PendingJoin, code: string): void {
    const to = this.#stage.clock.moment();
    const { oracle } = this.#stage;
    const mayFail = this.plan.way === "rt" && (this.isDisturbed || this.#credential.mayBeRefused(from, to));
    if (mayFail || oracle.isTroubled(from, to) || !oracle.mustAllow(channel, this.#identity(), "subscribe", from, to))
      return;
    oracle.failSettings(channel, "a permitted request succeeds", `${this.name} got ${code} for its join of ${channel}`);
  }

  #saw(subscription: Subscription, frame: Frame): void {
    const { run, isDoubtful } = subscription;
    if (isDoubtful) return;
    if (!run) {
      return this.#stage.oracle.fail(
        "a run has no gap and no repeat",
        `${this.name} got ${frame.options.seq} of ${frame.options.channel}, which it has not joined`,
      );
    }
    this.#stage.oracle.sees(run, keptIn(frame));
    subscription.position = Math.max(subscription.position ?? 0, frame.options.seq ?? 0);
  }

  #whispered({ options, payload }: Frame): void {
    const { id } = payload as Content;
    this.#whispers.push(id);
    if (options.socketId === this.socketId && !this.#whispers.slice(0, -1).includes(id)) return;
    this.#stage.oracle.fail(
      "a private message reaches its recipient only",
      `${this.name} got ${id} for ${options.socketId}`,
    );
  }

  #excerpt({ channel, run }: Subscription, { options, payload }: Frame): Excerpt {
    const who = run?.who ?? this.#identity();
    return { client: this.name, channel, who, seq: options.seq ?? 0, messages: (payload as Frame[]).map(keptIn) };
  }

  /** On a shared connection, an error frame may be the only sign that the channel ended. */
  #refused(subscription: Subscription, { payload }: Frame): void {
    const { code, message } = payload as { code: string; message: string };
    const { run, channel } = subscription;
    // A history frame or a repeated join, too soon after another one (LIM13).
    if (code === "rate-limited" && message.includes("history")) subscription.joins.shift();
    const isExpired = code === "unauthorized" && message.includes("expired");
    // Answers keep the order of the frames, so an open join is the frame that was refused.
    const join = !isExpired && JOIN_REFUSALS.has(code) ? subscription.joins.shift() : undefined;
    if (join) this.#checkRefusal(channel, join, code);
    if (!EXPECTED_ERRORS.has(code)) {
      this.#stage.oracle.fail("a permitted request succeeds", `${this.name} got ${code} ${message}`);
    }
    if (this.plan.way !== "rt" || !run) return;
    const now = this.#stage.clock.moment();
    const isExcluded =
      (code === "unauthorized" && this.#credential.mayBeRefused(now, now)) ||
      ((code === "unauthorized" || code === "forbidden") &&
        !this.#stage.oracle.mustAllow(channel, run.who, "subscribe", now, now));
    if (!isExpired && !isExcluded && code !== "not-joined") return;
    subscription.end();
    subscription.isDoubtful = true;
  }
}

export function keptIn({ action, client, options, payload }: Frame): Kept {
  return {
    seq: options.seq ?? 0,
    time: options.time ?? "",
    action,
    sender: client ?? null,
    content: payload as Content,
  };
}
