import { messageText } from "../message.ts";
import { CHANNEL, type Dialect } from "../peers.ts";
import { now } from "./clock.ts";
import { Subscriber } from "./subscriber.ts";

/** The largest number of frames in one text. */
const MAX_FRAMES = 100;

/** Publishes over one socket that acknowledges each message, with several messages in flight. */
export class InFlightPublisher {
  /** The number of acknowledged messages. */
  acknowledged = 0;
  /** The times from a message's planned sending to its acknowledgement. */
  readonly latenciesUs: number[] = [];
  readonly #dialect: NonNullable<Dialect["ackPublish"]>;
  readonly #sentAt: number[] = [];
  #socket: Subscriber | undefined;
  #onAcked: () => void = () => {};

  private constructor(dialect: NonNullable<Dialect["ackPublish"]>) {
    this.#dialect = dialect;
  }

  static async open(port: number, { ackPublish }: Dialect): Promise<InFlightPublisher> {
    if (!ackPublish) throw new Error("This server acknowledges no messages over sockets.");
    const publisher = new InFlightPublisher(ackPublish);
    publisher.#socket = await Subscriber.open(port, ackPublish.open(), (text) => publisher.#receive(text));
    return publisher;
  }

  /** The number of messages that are not acknowledged yet. */
  get inFlight(): number {
    return this.#sentAt.length - this.acknowledged;
  }

  /** Sends one message. @param due When it was to be sent. */
  send(due: number): void {
    this.#transmit([due]);
  }

  /** Keeps this many messages in flight until the end, and then waits for the last acknowledgement. */
  async keep(inFlight: number, end: AbortSignal): Promise<void> {
    const fill = () => {
      while (!end.aborted && this.inFlight < inFlight) {
        this.#transmit(Array.from({ length: Math.min(MAX_FRAMES, inFlight - this.inFlight) }, now));
      }
    };
    this.#onAcked = fill;
    fill();
    while (!end.aborted || this.inFlight > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  #transmit(due: readonly number[]): void {
    const frames = due.map((time, index) =>
      this.#dialect.frame(CHANNEL, `m${this.#sentAt.length + index}`, messageText(time)),
    );
    this.#sentAt.push(...due);
    this.#socket?.send(frames.length === 1 ? (frames[0] ?? "") : `[${frames.join(",")}]`);
  }

  /** Acknowledgements arrive in order. */
  #receive(text: Buffer): void {
    const before = this.acknowledged;
    for (let at = text.indexOf(this.#dialect.ack); at >= 0; at = text.indexOf(this.#dialect.ack, at + 1)) {
      this.latenciesUs.push(now() - (this.#sentAt[this.acknowledged] ?? 0));
      this.acknowledged += 1;
    }
    if (this.acknowledged > before) this.#onAcked();
  }
}
