import type { Client, PresenceAction } from "../protocol/frames.ts";
import { PRESENCE_JOINS_AT_ONCE, PRESENCE_JOINS_PER_SECOND } from "../protocol/limits.ts";
import { Rate } from "../shared/rate.ts";

/** How long further changes of a member wait after a change was announced. */
export const PRESENCE_WINDOW_MS = 1_000;

/**
 * The number of new watchers that are remembered while changes wait. With more, the waiting changes are announced at
 * once.
 */
const MAX_LATE_WATCHERS = 10_000;

/** The state of a member: the JSON of its client, or null if it has left. */
type State = string | null;

/** A member that changed recently. */
interface Member {
  /** The state in the last update that watchers got. */
  announced: State;
  current: State;
  /** When that update was sent, in milliseconds since the epoch. */
  announcedAt: number;
  /** Watchers that joined while a change waited, each with the member's state in its `presence_full` list. */
  readonly late: Map<WebSocket, State>;
}

interface FeedDeps {
  /** Whether there are any watchers. */
  isWatched: () => boolean;
  /** Sends an update to all watchers, except those in `except` and the member itself. */
  announce: (action: PresenceAction, client: Client, except: ReadonlyMap<WebSocket, unknown>) => void;
  /** Sends an update to one watcher, if it still is one. */
  notify: (watcher: WebSocket, action: PresenceAction, client: Client) => void;
}

/**
 * Sends presence updates to watchers, which are the sockets that asked for presence. A member's first change is
 * announced at once. Changes within the next second are announced at its end as one change, or not at all if they
 * cancel out. While a change waits, a timer keeps the object awake, so hibernation loses nothing.
 */
export class PresenceFeed {
  readonly #deps: FeedDeps;
  /** The members that changed recently, by `socketId`. */
  readonly #members = new Map<string, Member>();
  readonly #joins = new Rate(PRESENCE_JOINS_PER_SECOND, PRESENCE_JOINS_AT_ONCE, Date.now());
  #lateWatchers = 0;
  /** Runs while a change waits. */
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

  /** A member has set its state. */
  updated(before: Client, after: Client): void {
    this.#change(after.socketId, JSON.stringify(before), JSON.stringify(after));
  }

  /**
   * Records a new watcher. It gets the list of members in this turn of the event loop, so it needs no update about
   * changes that the list includes.
   */
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
    // If many members join at once, those that leave again within the window cost nothing.
    const waits = known !== undefined || (after !== null && this.#joins.take(now) > 0);
    if (!waits) this.#announce(socketId, member, now);
    else if (member.announced !== after) this.#timer ??= setTimeout(() => this.#flush(), PRESENCE_WINDOW_MS);
  }

  /**
   * Forgets the members whose last change was announced more than a second ago. Members are in the order of their last
   * announcement.
   */
  #forget(now: number): void {
    for (const [socketId, { announced, current, announcedAt, late }] of this.#members) {
      const waits = announced !== current || late.size > 0;
      if (waits || Math.abs(now - announcedAt) < PRESENCE_WINDOW_MS) return;
      this.#members.delete(socketId);
    }
  }

  /** Announces the waiting changes. */
  #flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#lateWatchers = 0;
    const now = Date.now();
    for (const [socketId, member] of this.#members) {
      if (member.announced !== member.current || member.late.size > 0) this.#announce(socketId, member, now);
    }
  }

  /** Sends all watchers the updates that lead to a member's current state. */
  #announce(socketId: string, member: Member, now: number): void {
    const { announced, current, late } = member;
    member.announced = current;
    member.announcedAt = now;
    this.#members.delete(socketId);
    this.#members.set(socketId, member);
    const update = updateBetween(announced, current);
    if (update) this.#deps.announce(...update, late);
    for (const [watcher, seen] of late) {
      const lateUpdate = updateBetween(seen, current);
      if (lateUpdate) this.#deps.notify(watcher, ...lateUpdate);
    }
    late.clear();
  }
}

/** Returns the update that leads from one state to another, undefined if they are the same. */
function updateBetween(from: State, to: State): [PresenceAction, Client] | undefined {
  if (from === to) return undefined;
  if (to !== null) return [from === null ? "join" : "update", JSON.parse(to) as Client];
  return from === null ? undefined : ["leave", JSON.parse(from) as Client];
}
