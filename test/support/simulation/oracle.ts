import type { Clock, Moment } from "./clock.ts";
import type { Content } from "./contents.ts";
import { type Action, allows, type Identity, maySee, type Settings } from "./policy.ts";
import { type Announced, Timeline, Troubles } from "./timeline.ts";

export type Rule =
  /** A channel's log is complete and in order. */
  | "seq has no gap and no repeat"
  | "times never fall"
  | "an acknowledged message is kept once, at its place"
  | "what is kept is what was sent"
  | "a refused publish is nowhere"
  | "a key has one answer"
  /** Subscribers. */
  | "a run has no gap and no repeat"
  | "a subscriber sees nothing that it may not"
  | "a subscriber is told why it stops"
  | "a history frame is a part of history"
  | "a private message reaches its recipient only"
  /** The archive. */
  | "the archive equals the log"
  | "a message with large extras is archived"
  | "a lost alarm is replaced"
  /** Settings and tokens. */
  | "a forbidden action fails"
  | "a pattern's settings hold within seconds"
  | "a permitted request succeeds"
  | "a socket ends with its token"
  | "D1 that is slow delays no token expiry"
  /** Time. */
  | "every request is answered"
  | "D1 that hangs delays no request"
  | "D1 that hangs delays no administration"
  /** The rest. */
  | "a /rt/ link that breaks loses nothing"
  | "presence is who has joined"
  | "a vanished client is found"
  | "a slow client is closed"
  | "a refused caller creates nothing"
  | "no rejection is unhandled";

export interface Violation {
  rule: Rule;
  what: string;
}

/** The `client` that a message's frames must have; null if they must have none. */
export type Sender = {
  socketId: string;
  permissions: { dbo_id: number; row_id: number | string };
  extras: object;
} | null;

/** A message that somebody sent, by whatever way. */
export interface Sent {
  content: Content;
  channel: string;
  action: "event" | "message";
  who: Identity;
  sender: Sender;
  /** The auth database to whose users it is restricted. */
  restriction: string | null;
  /** When it was first sent, and when its latest answer came. */
  from: Moment;
  to: Moment | undefined;
  acknowledged: { seq: number; time: string } | undefined;
  isRefused: boolean;
}

/** A message as history has it. */
export interface Kept {
  seq: number;
  time: string;
  action: string;
  sender: Sender;
  content: Content;
}

/** A message's row in D1. */
export interface Row {
  seq: number;
  time: number;
  action: string;
  client: string | null;
  database: string | null;
  payload: string;
}

/** What a subscriber saw, from the answer to its join until it left, joined again or was closed. */
export interface Run {
  client: string;
  /** How others know the client during this run. */
  socketId: string | undefined;
  way: "direct" | "batch" | "rt";
  channel: string;
  who: Identity;
  /** It sees all after this `seq`. */
  after: number;
  /** The channel's last `seq` when it joined: everything up to there was replayed. 0 also if it may not receive (JOI2). */
  joinedAt: number;
  /** When it joined, and when that was answered. */
  asked: Moment;
  answered: Moment;
  seen: number[];
  /** The last `seq` that it must have seen; undefined while it goes on, and so must see everything. */
  end: number | undefined;
  /** Whether its link broke, or its object ended, while it went on. */
  isDisturbed: boolean;
}

/** Frames of history, in a `history` frame or in a page. */
export interface Excerpt {
  client: string;
  channel: string;
  who: Identity;
  /** The channel's last `seq` then. */
  seq: number;
  messages: Kept[];
}

/** How long a copy of settings may be out of date, and how long copies may stay out of date after a fault of D1. */
const GRACE_MS = 5_000;
const RECOVERY_MS = 12_000;
/** How much a sender may send at once: messages to all channels (LIM7), and bytes to one (LIM12). */
const MAX_MESSAGES = 500;
const MAX_BYTES = 1024 * 1024;

/** Collects what happened, and compares it with what PROTOCOL.md and docs/guarantees.md promise. */
export class Oracle {
  readonly clock: Clock;
  readonly troubles = new Troubles();
  readonly #settings = new Map<string, Timeline<Settings | null>>();
  readonly #sent = new Map<string, Sent>();
  readonly #runs: Run[] = [];
  readonly #excerpts: Excerpt[] = [];
  /** When a message was first seen, by any client. */
  readonly #firstSeen = new Map<string, Moment>();
  /** How rules were broken. */
  readonly violations: Violation[] = [];

  constructor(clock: Clock) {
    this.clock = clock;
  }

  fail(rule: Rule, what: string): void {
    this.violations.push({ rule, what });
  }

  /** @param rule The broken rule, unless the channel inherits its settings. */
  failSettings(channel: string, rule: Rule, what: string): void {
    this.fail(channel.endsWith("/hall/1") ? "a pattern's settings hold within seconds" : rule, what);
  }

  /** @param isOwn Whether the object was notified of these settings. Then they hold at once, otherwise within seconds. */
  noteSettings(channel: string, settings: Settings | null, from: Moment, isOwn: boolean): void {
    const known = this.#settingsOf(channel);
    if (JSON.stringify(known.latest) === JSON.stringify(settings)) return;
    known.note(settings, from, this.clock.moment(), isOwn ? 0 : GRACE_MS);
  }

  /** Notes that a change of settings begins. Until its outcome is known, the settings may hold. */
  announceSettings(channel: string, settings: Settings | null): Announced<Settings | null> {
    return this.#settingsOf(channel).announce(settings);
  }

  /** Whether settings that may have decided an action between two moments allowed it. */
  mayAllow(channel: string, who: Identity, action: Action, from: Moment, to: Moment): boolean {
    return this.#plausible(channel, from, to).some((settings) => allows(who, action, settings));
  }

  /** Whether all settings that may have decided an action between two moments allowed it. */
  mustAllow(channel: string, who: Identity, action: Action, from: Moment, to: Moment): boolean {
    return this.#plausible(channel, from, to).every((settings) => allows(who, action, settings));
  }

  isTroubled(from: Moment, to: Moment): boolean {
    return this.troubles.touch(from.elapsed - RECOVERY_MS, to.elapsed);
  }

  /** Whether a message of a channel has a large `client`. */
  hasLargeSender(channel: string): boolean {
    return this.#sent.values().some((sent) => sent.channel === channel && JSON.stringify(sent.sender).length > 1_000);
  }

  /** Whether callers of a kind have sent so much that the server may refuse to take more. */
  mayBeOverBudget(channel: string, { kind }: Identity): boolean {
    const sent = [...this.#sent.values()].filter(({ who }) => who.kind === kind);
    if (sent.length > MAX_MESSAGES) return true;
    const own = sent.filter((message) => message.channel === channel);
    return own.reduce((bytes, { content, sender }) => bytes + sizeOf(content) + sizeOf(sender), 0) > MAX_BYTES;
  }

  sends(message: Sent): void {
    this.#sent.set(message.content.id, message);
  }

  acknowledges({ content, channel, ...sent }: Sent, seq: number, time: string): void {
    const message = this.#sent.get(content.id);
    if (!message) return;
    const before = sent.acknowledged;
    if (before && (before.seq !== seq || before.time !== time)) {
      this.fail(
        "a key has one answer",
        `${content.id} was stored as ${before.seq} at ${before.time}, then as ${seq} at ${time}`,
      );
    }
    message.acknowledged = { seq, time };
    message.isRefused = false;
    this.#sees(channel, seq);
  }

  begins(run: Run): void {
    this.#runs.push(run);
  }

  /** A subscriber sees a message. */
  sees(run: Run, kept: Kept): void {
    const last = run.seen.at(-1) ?? run.after;
    if (kept.seq <= last) this.#gap(run, `saw ${kept.seq} after ${last}`);
    run.seen.push(kept.seq);
    this.#sees(run.channel, kept.seq);
    this.#compare(kept, run.channel, `${run.client} saw`);
  }

  reads(excerpt: Excerpt): void {
    this.#excerpts.push(excerpt);
    for (const kept of excerpt.messages) this.#compare(kept, excerpt.channel, `${excerpt.client} read`);
  }

  /**
   * Compares everything that was seen of a channel with its whole history, and that with its archive.
   *
   * @param archive Undefined if the archive never caught up, which was reported already.
   */
  check(channel: string, history: readonly Kept[], archive: readonly Row[] | undefined): void {
    this.#checkOrder(channel, history);
    this.#checkSent(channel, history, archive ?? []);
    for (const run of this.#runs) if (run.channel === channel) this.#checkRun(run, history);
    for (const excerpt of this.#excerpts) if (excerpt.channel === channel) this.#checkExcerpt(excerpt, history);
    if (archive) this.#checkArchive(channel, history, archive);
  }

  #checkOrder(channel: string, history: readonly Kept[]): void {
    for (const [index, { seq, time }] of history.entries()) {
      if (seq !== index + 1) this.fail("seq has no gap and no repeat", `${channel} has ${seq} as number ${index + 1}`);
      const before = history[index - 1]?.time ?? "";
      if (time < before) this.fail("times never fall", `${channel}: ${seq} is of ${time}, the one before of ${before}`);
    }
  }

  #checkSent(channel: string, history: readonly Kept[], archive: readonly Row[]): void {
    const places = Map.groupBy(history, ({ content }) => content.id);
    for (const [id, kept] of places) {
      const sent = this.#sent.get(id);
      if (kept.length > 1)
        this.fail("an acknowledged message is kept once, at its place", `${id} is kept ${kept.length} times`);
      for (const message of kept) {
        this.#compare(message, channel, "history has");
        const row = archive[message.seq - 1];
        if (sent && row && row.database !== sent.restriction) {
          this.fail(
            "what is kept is what was sent",
            `${id} is restricted to ${row.database}, not to ${sent.restriction}`,
          );
        }
      }
      if (sent) this.#checkPermission(sent, kept[0]?.seq ?? 0);
    }
    for (const sent of this.#sent.values())
      if (sent.channel === channel) this.#checkPlace(sent, places.get(sent.content.id) ?? []);
  }

  #checkPlace({ content, acknowledged, isRefused }: Sent, kept: readonly Kept[]): void {
    const [found] = kept;
    if (isRefused && found) this.fail("a refused publish is nowhere", `${content.id} is kept as ${found.seq}`);
    if (!acknowledged || (found?.seq === acknowledged.seq && found.time === acknowledged.time)) return;
    const rule = "an acknowledged message is kept once, at its place";
    this.fail(
      rule,
      `${content.id} was acknowledged as ${acknowledged.seq}; it is ${found ? `kept as ${found.seq}` : "not kept"}`,
    );
  }

  #checkPermission(sent: Sent, seq: number): void {
    const { content, channel, who, restriction, from, action } = sent;
    const to = this.#storedBy(sent, seq);
    if (this.mayAllow(channel, who, restriction === null ? "publish" : "restricted", from, to)) return;
    this.failSettings(
      channel,
      "a forbidden action fails",
      `${content.id} (${action} by ${who.kind}) was stored as ${seq}, which no settings allowed`,
    );
  }

  #checkRun(run: Run, history: readonly Kept[]): void {
    const seen = new Set(run.seen);
    const last = run.end ?? history.length;
    for (const { seq, content } of history) {
      const sent = this.#sent.get(content.id);
      if (seq <= run.after || !sent) continue;
      const sight = this.#sight(run, sent, seq);
      if (sight === "must" && seq <= last && !seen.has(seq))
        this.#gap(run, `did not see ${seq} (${content.id}), last ${run.seen.at(-1)}`);
      if (sight === "must not" && seen.has(seq)) {
        this.fail(
          "a subscriber sees nothing that it may not",
          `${run.client} saw ${seq} (${content.id}) of ${run.channel}`,
        );
      }
    }
  }

  #gap(run: Run, what: string): void {
    const rule =
      run.way === "rt" && run.isDisturbed ? "a /rt/ link that breaks loses nothing" : "a run has no gap and no repeat";
    this.fail(
      rule,
      `${run.client} (${run.way}) on ${run.channel}, joined at ${run.joinedAt} after ${run.after}, ${what}`,
    );
  }

  #sight(run: Run, sent: Sent, seq: number): "must" | "may" | "must not" {
    if (!maySee(run.who, sent.restriction)) return "must not";
    if (seq <= run.joinedAt) return "must";
    // A client that may not receive does not get the channel's last seq, so it cannot know what it missed.
    if (this.#isHidden(run) && sent.from.index < run.answered.index) return "may";
    const to = this.#storedBy(sent, seq);
    if (this.mustAllow(run.channel, run.who, "receive", sent.from, to)) return "must";
    // A sender receives its own message even if it receives no others (FRA2).
    if (sent.sender !== null && sent.sender.socketId === run.socketId) return "may";
    return this.mayAllow(run.channel, run.who, "receive", sent.from, to) || this.#mayReplay(run, sent)
      ? "may"
      : "must not";
  }

  /**
   * Whether a link may have been replaced after settings changed back, and then have replayed a message from the time
   * when its client was not admitted.
   */
  #mayReplay({ way, isDisturbed, channel, who }: Run, sent: Sent): boolean {
    return way === "rt" && isDisturbed && this.mayAllow(channel, who, "history", sent.from, this.clock.moment());
  }

  /** Whether the answer to a join may have hidden the channel's last `seq`. */
  #isHidden({ joinedAt, channel, who, asked, answered }: Run): boolean {
    return joinedAt === 0 && !this.mustAllow(channel, who, "receive", asked, answered);
  }

  /** Checks that an excerpt holds the latest messages that its reader may see. */
  #checkExcerpt({ client, channel, who, seq, messages }: Excerpt, history: readonly Kept[]): void {
    const visible = history.filter(
      (kept) => kept.seq <= seq && maySee(who, this.#sent.get(kept.content.id)?.restriction ?? null),
    );
    const expected = visible.slice(messages.length === 0 ? visible.length : -messages.length).map((kept) => kept.seq);
    const found = messages.map((kept) => kept.seq);
    const isEmpty = messages.length === 0 && visible.length > 0;
    if (isEmpty || JSON.stringify(found) !== JSON.stringify(expected)) {
      this.fail(
        "a history frame is a part of history",
        `${client} read ${JSON.stringify(found)} of ${channel} up to ${seq}, not ${JSON.stringify(expected)}`,
      );
    }
  }

  #checkArchive(channel: string, history: readonly Kept[], archive: readonly Row[]): void {
    const inLog = history.map(({ seq, time, action, content }) => [seq, Date.parse(time), action, content.id]);
    const inD1 = archive.map(({ seq, time, action, payload }) => [
      seq,
      time,
      action,
      (JSON.parse(payload) as Content).id,
    ]);
    if (JSON.stringify(inLog) === JSON.stringify(inD1)) return;
    this.fail("the archive equals the log", `${channel}: D1 has ${inD1.length} rows, history ${inLog.length} messages`);
  }

  /** Whether a message is what was sent under its id. */
  #compare(kept: Kept, channel: string, how: string): void {
    const sent = this.#sent.get(kept.content?.id);
    const rule = "what is kept is what was sent";
    if (!sent) return this.fail(rule, `${how} ${JSON.stringify(kept.content)?.slice(0, 100)}, which no client sent`);
    const differs = (one: unknown, other: unknown) => JSON.stringify(one) !== JSON.stringify(other);
    if (sent.channel !== channel) this.fail(rule, `${how} ${kept.content.id} on ${channel}, not ${sent.channel}`);
    if (kept.content.text !== sent.content.text || Object.keys(kept.content).length > 2)
      this.fail(rule, `${how} ${kept.content.id} with another value`);
    if (kept.action !== sent.action) this.fail(rule, `${how} ${kept.content.id} as ${kept.action}`);
    if (differs(kept.sender, sent.sender))
      this.fail(rule, `${how} ${kept.content.id} from ${JSON.stringify(kept.sender)?.slice(0, 200)}`);
  }

  #sees(channel: string, seq: number): void {
    const key = `${channel} ${seq}`;
    if (!this.#firstSeen.has(key)) this.#firstSeen.set(key, this.clock.moment());
  }

  /** The latest moment at which a message may have been stored: when it was first seen, or acknowledged. */
  #storedBy({ channel, to }: Sent, seq: number): Moment {
    const seen = this.#firstSeen.get(`${channel} ${seq}`);
    if (seen && to) return seen.index < to.index ? seen : to;
    return seen ?? to ?? this.clock.moment();
  }

  #settingsOf(channel: string): Timeline<Settings | null> {
    const known = this.#settings.get(channel) ?? new Timeline<Settings | null>(this.clock);
    this.#settings.set(channel, known);
    return known;
  }

  #plausible(channel: string, from: Moment, to: Moment): (Settings | null)[] {
    const known = this.#settingsOf(channel);
    return this.isTroubled(from, to) ? known.all(to) : known.plausible(from, to);
  }
}

const encoder = new TextEncoder();

/** Returns how many bytes of UTF-8 the JSON of a value takes. */
function sizeOf(value: unknown): number {
  return encoder.encode(JSON.stringify(value)).length;
}
