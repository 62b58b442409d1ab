import { mkdtempSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** The storage of the peers on Node: each message is a row in SQLite, durable (WAL, synchronous=FULL) before the answer. */
export class Store {
  readonly #database = new DatabaseSync(join(mkdtempSync(join(tmpdir(), "bench-")), "log.sqlite"));
  readonly #insert;

  constructor() {
    this.#database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    this.#database.exec(
      "CREATE TABLE log (channel TEXT, seq INTEGER, time INTEGER, payload TEXT, PRIMARY KEY (channel, seq)) WITHOUT ROWID",
    );
    this.#insert = this.#database.prepare("INSERT INTO log VALUES (?, ?, ?, ?)");
  }

  /** Stores one message, or several in one transaction. */
  append(channel: string, first: number, time: number, payloads: string[]): void {
    if (payloads.length > 1) this.#database.exec("BEGIN");
    for (const [index, payload] of payloads.entries()) this.#insert.run(channel, first + index, time, payload);
    if (payloads.length > 1) this.#database.exec("COMMIT");
  }
}

/** Returns a handler of `POST /message` that stores the messages, calls `deliver` with each in order, and answers. */
export function publisher(
  store: Store,
  deliver: (channel: string, seq: number, time: number, message: unknown) => void,
) {
  const last = new Map<string, number>();
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Body;
    const messages = body.messages ?? [body.message];
    const first = (last.get(body.channel) ?? 0) + 1;
    const time = Date.now();
    last.set(body.channel, first + messages.length - 1);
    store.append(
      body.channel,
      first,
      time,
      messages.map((message) => JSON.stringify(message)),
    );
    for (const [index, message] of messages.entries()) deliver(body.channel, first + index, time, message);
    response.writeHead(201, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ channel: body.channel, seq: first, time: new Date(time).toISOString() }));
  };
}

interface Body {
  channel: string;
  message?: unknown;
  messages?: unknown[];
}
