import type { ServerFrame } from "../../client/client.ts";

/** A frame in the feed. */
export interface Entry {
  /** Its number in this feed. */
  id: number;
  /** When it came, in milliseconds since the epoch. */
  at: number;
  frame: ServerFrame;
}

/** Frames kept for reading, and frames kept while the reader has paused. */
export const KEPT = 500;
export const WAITING = 2_000;

/** The latest frames of a channel, oldest first. It can be paused: then what comes waits, and the oldest of too much is dropped. */
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

  /** How many were dropped since the feed was paused. */
  get dropped(): number {
    return this.#dropped;
  }

  /** @param at When they came, in milliseconds since the epoch. */
  add(frames: readonly ServerFrame[], at: number): void {
    const entries = frames.map((frame) => ({ id: ++this.#count, at, frame }));
    if (this.#waiting === undefined) {
      this.#entries = [...this.#entries, ...entries].slice(-KEPT);
      return;
    }
    this.#waiting.push(...entries);
    this.#dropped += this.#waiting.splice(0, this.#waiting.length - WAITING).length;
  }

  pause(): void {
    this.#waiting ??= [];
  }

  resume(): void {
    this.#entries = [...this.#entries, ...(this.#waiting ?? [])].slice(-KEPT);
    this.#waiting = undefined;
    this.#dropped = 0;
  }

  clear(): void {
    this.#entries = [];
  }
}

/**
 * Whether a frame is one that the reader wants to see.
 *
 * @param action Its action; any, where empty.
 * @param text What its JSON text must contain, in whatever case.
 */
export function matches({ frame }: Entry, action: string, text: string): boolean {
  if (action !== "" && frame.action !== action) return false;
  return text === "" || JSON.stringify(frame).toLowerCase().includes(text.toLowerCase());
}
