import type { Client } from "../protocol/frames.ts";
import { PRESENCE_JOINS_AT_ONCE, PRESENCE_JOINS_PER_SECOND } from "../protocol/limits.ts";
import { Rate } from "./rate.ts";

/** How long further changes of a member wait after one was announced, in milliseconds. */
export const PRESENCE_WINDOW_MS = 1_000;

/** New watchers that are remembered while changes wait for them: more, and what waits is announced at once. */
const MAX_LATE_WATCHERS = 10_000;

/** What became of a member, as JSON of its client: there, or null if it is not. */
type State = string | null;

/** A member that changed a short time ago. */
interface Member {
  /** What watchers were told last. */
  announced: State;
  current: State;
  /** When that was, in milliseconds since the epoch. */
  announcedAt: number;
  /** Watchers that began while a change waited, and what their list of members said. */
  readonly late: Map<WebSocket, State>;
}

interface FeedDeps {
  /** Whether anybody wants to know. */
  isWatched: () => boolean;
  /** Sends an update to all watchers, but for those that are left out. */
  announce: (action: "join" | "leave", client: Client, except: ReadonlyMap<WebSocket, unknown>) => void;
  /** Sends an update to one watcher, if it still is one. */
  tell: (watcher: WebSocket, action: "join" | "leave", client: Client) => void;
}

/**
 * Tells watchers who joins and leaves. A member's first change is announced at once; what changes within the next second is
 * announced at its end, as one change, or not at all if the member is as before. While something waits, a timer keeps the object
 * awake, so hibernation loses nothing.
 */
export class PresenceFeed {
  readonly #deps: FeedDeps;
  /** By `socketId`. */
  readonly #members = new Map<string, Member>();
  readonly #joins = new Rate(PRESENCE_JOINS_PER_SECOND, PRESENCE_JOINS_AT_ONCE, Date.now());
  #lateWatchers = 0;
  /** Runs while something waits. */
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(deps: FeedDeps) {
    this.#deps = deps;
  }

  joined(client: Client): void {
    this.#change(client.socketId, null, JSON.stringify(client));
  }

  left(client: Client): void {
    this.#change(client.socketId, JSON.stringify(client), null);
  }

  /** Notes a new watcher, which gets the list of members in this turn: it needs no update that the list contains. */
  watching(watcher: WebSocket): void {
    for (const member of this.#members.values()) {
      if (member.announced === member.current) continue;
      if (!member.late.has(watcher)) this.#lateWatchers += 1;
      member.late.set(watcher, member.current);
    }
    if (this.#lateWatchers > MAX_LATE_WATCHERS) this.#flush();
  }

  #change(socketId: string, before: State, after: State): void {
    const now = Date.now();
    this.#forget(now);
    const known = this.#members.get(socketId);
    if (!known && !this.#deps.isWatched()) return;
    const member = known ?? { announced: before, current: before, announcedAt: now, late: new Map<WebSocket, State>() };
    member.current = after;
    this.#members.set(socketId, member);
    // In a storm of new members, those that leave again within the window cost nothing.
    const waits = known !== undefined || (after !== null && this.#joins.take(now) > 0);
    if (!waits) this.#announce(socketId, member, now);
    else if (member.announced !== after) this.#timer ??= setTimeout(() => this.#flush(), PRESENCE_WINDOW_MS);
  }

  /** Forgets the members whose last change was announced long enough ago. They are in the order of their announcement. */
  #forget(now: number): void {
    for (const [socketId, { announced, current, announcedAt, late }] of this.#members) {
      const waits = announced !== current || late.size > 0;
      if (waits || Math.abs(now - announcedAt) < PRESENCE_WINDOW_MS) return;
      this.#members.delete(socketId);
    }
  }

  /** Announces what waits. */
  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#lateWatchers = 0;
    const now = Date.now();
    for (const [socketId, member] of this.#members) {
      if (member.announced !== member.current || member.late.size > 0) this.#announce(socketId, member, now);
    }
  }

  /** Brings all watchers to a member's current state. */
  #announce(socketId: string, member: Member, now: number): void {
    const { announced, current, late } = member;
    member.announced = current;
    member.announcedAt = now;
    this.#members.delete(socketId);
    this.#members.set(socketId, member);
    for (const [action, client] of steps(announced, current)) this.#deps.announce(action, client, late);
    for (const [watcher, seen] of late) {
      for (const [action, client] of steps(seen, current)) this.#deps.tell(watcher, action, client);
    }
    late.clear();
  }
}

/** The updates that lead from one state to another. */
function steps(from: State, to: State): ["join" | "leave", Client][] {
  if (from === to) return [];
  const leave = from === null ? [] : [["leave", JSON.parse(from) as Client] as ["leave", Client]];
  const join = to === null ? [] : [["join", JSON.parse(to) as Client] as ["join", Client]];
  return [...leave, ...join];
}
