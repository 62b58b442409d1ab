/** A frame from the channel object, as far as a link reads it. */
export interface ServerFrame {
  action: string;
  options?: { seq?: number; resumed?: boolean; replayed?: number };
  payload?: unknown;
}

/**
 * The answer to a `join`: the `join` frame and the frames that belong to it, which are either a replay or a history,
 * and the list of members. The object sends them in one turn, so nothing else arrives between them.
 *
 * A link passes a catch-up on as a whole. If the link breaks before that, the client has seen nothing of it, and the
 * same join can be sent again.
 */
export class CatchUp {
  readonly texts: string[];
  /** The channel's last `seq` when the object answered: the client is up to date to here once it has all the texts. */
  readonly seq: number;
  #replays: number;
  #awaitsHistory: boolean;
  #awaitsMembers: boolean;

  /** @param text The text of `frame`, which is the `join` frame. */
  constructor({ options, payload }: ServerFrame, text: string) {
    const granted = payload as { history?: boolean; presence?: boolean } | undefined;
    this.texts = [text];
    this.seq = options?.seq ?? 0;
    this.#replays = options?.replayed ?? 0;
    this.#awaitsHistory = granted?.history === true && options?.resumed !== true;
    this.#awaitsMembers = granted?.presence === true;
  }

  get isComplete(): boolean {
    return this.#replays <= 0 && !this.#awaitsHistory && !this.#awaitsMembers;
  }

  /** Takes the next frame. */
  add({ action, options }: ServerFrame, text: string): void {
    this.texts.push(text);
    if (action === "history") this.#awaitsHistory = false;
    else if (action === "presence_full") this.#awaitsMembers = false;
    else if (options?.seq !== undefined) this.#replays -= 1;
  }
}
