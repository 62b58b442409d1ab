/** A frame from the channel object, with the fields that a link reads. */
export interface ServerFrame {
  action: string;
  options?: { id?: string; seq?: number; resumed?: boolean; replayed?: number };
  payload?: unknown;
}

/**
 * The answer to a `join`: the `join` frame, then a replay or a `history` frame, then the list of members. The object
 * sends all of it in one turn of the event loop, so no other frame arrives in between.
 *
 * A link passes on the answer only once it is complete. If the link breaks before, the client has received nothing of
 * it, and the link can send the same join again.
 */
export class CatchUp {
  readonly texts: string[];
  /**
   * The channel's last `seq` at the time of the answer. A client that has all the texts is up to date to this position.
   */
  readonly seq: number;
  /** The id of the join, if it had one. */
  readonly id: string | undefined;
  #replays: number;
  #awaitsHistory: boolean;
  #awaitsMembers: boolean;

  /** @param text The text of `frame`, which is the `join` frame. */
  constructor({ options, payload }: ServerFrame, text: string) {
    const granted = payload as { history?: boolean; presence?: boolean } | undefined;
    this.texts = [text];
    this.seq = options?.seq ?? 0;
    this.id = options?.id;
    this.#replays = options?.replayed ?? 0;
    this.#awaitsHistory = granted?.history === true && options?.resumed !== true;
    this.#awaitsMembers = granted?.presence === true;
  }

  get isComplete(): boolean {
    return this.#replays <= 0 && !this.#awaitsHistory && !this.#awaitsMembers;
  }

  /** Adds the next frame of the answer. */
  add({ action, options }: ServerFrame, text: string): void {
    this.texts.push(text);
    if (action === "history") this.#awaitsHistory = false;
    else if (action === "presence_full") this.#awaitsMembers = false;
    else if (options?.seq !== undefined) this.#replays -= 1;
  }
}
