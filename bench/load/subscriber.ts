import { randomBytes } from "node:crypto";
import { connect, type Socket } from "node:net";
import type { Subscription } from "../peers.ts";

const HEADERS_END = "\r\n\r\n";
const MEBIBYTE = 1024 * 1024;
const [TEXT, CLOSE, PING, PONG] = [0x1, 0x8, 0x9, 0xa];

/**
 * A minimal WebSocket client (RFC 6455). It searches the received bytes for marks and creates no strings, events or objects
 * per frame. A library's client uses more CPU than the fastest servers, so it would limit the measurement.
 */
export class Subscriber {
  readonly #socket: Socket;
  readonly #onText: (text: Buffer) => void;
  readonly #heartbeat: string | undefined;
  /** Bytes received since the last heartbeat. */
  #unconfirmed = 0;
  #rest: Buffer = Buffer.alloc(0);
  #upgraded = false;
  #waiters: { mark: string; resolve: () => void }[] = [];

  private constructor(port: number, { path, headers = {}, heartbeat }: Subscription, onText: (text: Buffer) => void) {
    this.#onText = onText;
    this.#heartbeat = heartbeat;
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("error", () => {});
    const lines = Object.entries({
      Host: `127.0.0.1:${port}`,
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
      ...headers,
    }).map(([name, value]) => `${name}: ${value}`);
    this.#socket.write([`GET ${path} HTTP/1.1`, ...lines].join("\r\n") + HEADERS_END);
  }

  /**
   * Connects, sends the texts that the peer requires, and waits for each expected answer.
   *
   * @param onText Called with the bytes of each text frame. The bytes are valid only during the call.
   */
  static async open(port: number, subscription: Subscription, onText: (text: Buffer) => void): Promise<Subscriber> {
    const subscriber = new Subscriber(port, subscription, onText);
    await subscriber.#answer(HEADERS_END);
    for (const { send, until } of subscription.hello) {
      if (send !== undefined) subscriber.send(send);
      if (until !== undefined) await subscriber.#answer(until);
    }
    return subscriber;
  }

  send(text: string): void {
    this.#write(TEXT, Buffer.from(text));
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Waits for a text frame, or a handshake response, that contains a text. */
  #answer(mark: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ mark, resolve });
      this.#socket.once("close", () =>
        reject(new Error(`The server closed the connection while the client waited for ${mark}.`)),
      );
    });
  }

  #take(chunk: Buffer): void {
    this.#confirm(chunk.length);
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#upgraded) {
      const end = data.indexOf(HEADERS_END);
      if (end < 0) return void (this.#rest = data);
      const head = data.subarray(0, end + HEADERS_END.length);
      if (!head.toString().startsWith("HTTP/1.1 101"))
        throw new Error(`The server refused the WebSocket: ${data.toString()}`);
      this.#upgraded = true;
      this.#handle(head);
      data = data.subarray(head.length);
    }
    let at = 0;
    for (;;) {
      const frame = frameAt(data, at);
      if (!frame) break;
      if (frame.opcode === TEXT) this.#handle(data.subarray(frame.start, frame.end));
      else if (frame.opcode === PING) this.#write(PONG, data.subarray(frame.start, frame.end));
      else if (frame.opcode === CLOSE) this.#socket.destroy();
      at = frame.end;
    }
    this.#rest = at === data.length ? EMPTY : data.subarray(at);
  }

  #confirm(bytes: number): void {
    this.#unconfirmed += bytes;
    if (this.#heartbeat === undefined || this.#unconfirmed < MEBIBYTE) return;
    this.#unconfirmed = 0;
    this.send(this.#heartbeat);
  }

  #handle(text: Buffer): void {
    if (this.#waiters[0] && text.includes(this.#waiters[0].mark)) this.#waiters.shift()?.resolve();
    // The ping of engine.io is a text frame.
    if (text.length === 1 && text[0] === 0x32) return this.send("3");
    this.#onText(text);
  }

  /** Writes a frame. A client must mask its frames; a mask of zeros is valid and costs nothing. */
  #write(opcode: number, payload: Buffer): void {
    const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 0xff];
    const [first = 0, ...more] = length;
    this.#socket.write(Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | first, ...more, 0, 0, 0, 0]), payload]));
  }
}

const EMPTY = Buffer.alloc(0);

/** Returns the unmasked frame that begins at a position, or undefined if it has not arrived completely. */
function frameAt(data: Buffer, at: number): { opcode: number; start: number; end: number } | undefined {
  if (data.length < at + 2) return undefined;
  const opcode = (data[at] ?? 0) & 0x0f;
  const short = (data[at + 1] ?? 0) & 0x7f;
  let start = at + 2;
  let length = short;
  if (short === 126) {
    if (data.length < (start += 2)) return undefined;
    length = data.readUInt16BE(start - 2);
  } else if (short === 127) {
    if (data.length < (start += 8)) return undefined;
    length = Number(data.readBigUInt64BE(start - 8));
  }
  const end = start + length;
  return data.length < end ? undefined : { opcode, start, end };
}
