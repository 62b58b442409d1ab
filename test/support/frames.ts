/** A received frame. A test may read any field. */
export interface Frame {
  action: string;
  client?: { socketId: string; permissions: { dbo_id: number; row_id: number } };
  options: { channel: string; seq: number; time: string; resumed?: boolean };
  // Each test knows the type of its own payloads.
  // oxlint-disable-next-line typescript/no-explicit-any
  payload: any;
}

type Source = Pick<EventTarget, "addEventListener">;

/** Collects the texts that a socket receives. Tests wait for them in order, never for a fixed time. */
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

  /** How many received texts no caller has taken yet. */
  get pending(): number {
    return this.texts.length - this.#taken;
  }

  /** Returns the next text, and waits for it if necessary. */
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

  /** Returns the next frame, and waits for it if necessary. */
  async frame(): Promise<Frame> {
    return JSON.parse(await this.text()) as Frame;
  }

  /** Returns the next `count` frames. */
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
