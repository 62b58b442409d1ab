import type { ServerFrame } from "../../../packages/client/src/client.ts";

/** A frame in the feed. */
export interface Entry {
  /** The frame's number in this feed. */
  id: number;
  /** When the frame arrived, in milliseconds since the epoch. */
  at: number;
  frame: ServerFrame;
}

/** How many frames the feed shows, and how many it holds while it is paused. */
export const MAX_SHOWN = 500;
export const MAX_WAITING = 2_000;

/**
 * The latest frames of a channel, the oldest first. While the feed is paused, new frames wait. If too many wait, the oldest of
 * them are dropped.
 */
export class Feed {
  #entries: readonly Entry[] = [];
  #waiting: Entry[] | undefined;
  #count = 0;
  #dropped = 0;

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get paused(): boolean {
    return this.#waiting !== undefined;
  }

  /** How many frames wait. */
  get waiting(): number {
    return this.#waiting?.length ?? 0;
  }

  /** How many frames were dropped since the feed was paused. */
  get dropped(): number {
    return this.#dropped;
  }

  /** @param at When the frames arrived, in milliseconds since the epoch. */
  add(frames: readonly ServerFrame[], at: number): void {
    const entries = frames.map((frame) => ({ id: ++this.#count, at, frame }));
    if (this.#waiting === undefined) {
      this.#entries = [...this.#entries, ...entries].slice(-MAX_SHOWN);
      return;
    }
    this.#waiting.push(...entries);
    this.#dropped += this.#waiting.splice(0, this.#waiting.length - MAX_WAITING).length;
  }

  pause(): void {
    this.#waiting ??= [];
  }

  resume(): void {
    this.#entries = [...this.#entries, ...(this.#waiting ?? [])].slice(-MAX_SHOWN);
    this.#waiting = undefined;
    this.#dropped = 0;
  }

  clear(): void {
    this.#entries = [];
  }
}

/**
 * Returns whether a frame passes the reader's filter.
 *
 * @param action The frame's action. An empty text matches every action.
 * @param text A text that the frame's JSON must contain. Upper and lower case don't differ.
 */
export function matches({ frame }: Entry, action: string, text: string): boolean {
  if (action !== "" && frame.action !== action) return false;
  return text === "" || JSON.stringify(frame).toLowerCase().includes(text.toLowerCase());
}
