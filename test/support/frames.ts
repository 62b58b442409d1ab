/** A frame as a test looks at it: any field may be there. */
export interface Frame {
  action: string;
  client?: { socketId: string; permissions: { dbo_id: number; row_id: number } };
  options: { channel: string; seq: number; time: string; resumed?: boolean };
  // What a payload holds is each test's own affair.
  // oxlint-disable-next-line typescript/no-explicit-any
  payload: any;
}

type Source = Pick<EventTarget, "addEventListener">;

/** Collects what a socket receives, so that a test can wait for it in order, by condition and never by time. */
export class Inbox {
  readonly texts: string[] = [];
  closed: { code: number; reason: string } | undefined;
  #taken = 0;
  #wake: () => void = () => {};

  constructor(socket: Source) {
    socket.addEventListener("message", (event) => {
      this.texts.push(String((event as MessageEvent).data));
      this.#wake();
    });
    socket.addEventListener("close", (event) => {
      const { code, reason } = event as CloseEvent;
      this.closed = { code, reason };
      this.#wake();
    });
  }

  /** How many have come and were not taken yet. */
  get pending(): number {
    return this.texts.length - this.#taken;
  }

  /** The next text not taken yet. */
  async text(): Promise<string> {
    for (;;) {
      const text = this.texts[this.#taken];
      if (text !== undefined) {
        this.#taken += 1;
        return text;
      }
      if (this.closed) throw new Error(`closed with ${this.closed.code} ${this.closed.reason} while waiting`);
      await this.#change();
    }
  }

  /** The next frame not taken yet. */
  async frame(): Promise<Frame> {
    return JSON.parse(await this.text()) as Frame;
  }

  /** The next frames, as many as asked for. */
  async frames(count: number): Promise<Frame[]> {
    const frames: Frame[] = [];
    while (frames.length < count) frames.push(await this.frame());
    return frames;
  }

  /** Waits until the connection is closed. */
  async close(): Promise<{ code: number; reason: string }> {
    while (!this.closed) await this.#change();
    return this.closed;
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
