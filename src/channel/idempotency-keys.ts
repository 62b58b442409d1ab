import type { Identity } from "../auth/policy.ts";
import { MAX_FRAME_ID_CHARACTERS, MAX_STORAGE_BYTES_FOR_KEYS } from "../protocol/limits.ts";
import type { StoredMessage } from "../protocol/frames.ts";
import type { Key, MessageLog, Position } from "./message-log.ts";

/** The shortest time for which a key is remembered. */
export const KEY_LIFETIME_MS = 24 * 60 * 60 * 1000;

/** The parts of a message that must be the same when it is sent again with its key. */
export type Content = Pick<StoredMessage, "action" | "client" | "database" | "type" | "payload">;

/** The position of a known key's message, and whether that message equals the new one. */
export interface Remembered extends Position {
  isSame: boolean;
}

/** The longest time after which a publisher is asked to try again. */
const MAX_RETRY_AFTER_SECONDS = 3_600;

/** In how many steps all keys of a full log are moved. */
const MOVES_PER_ROUND = 20;

interface Marks {
  /** The number of the table for new keys, 0 or 1. */
  current: number;
  /** When this table was created, in milliseconds since the epoch. */
  since: number;
}

/**
 * The idempotency keys of a channel's messages.
 *
 * A key is stored in the row of its message, so it costs no row of its own. An index on the column would cost one, so
 * the object keeps the keys of the log in memory, and reads them again from the log when it needs them after a pause.
 * If the log overwrites a message within the lifetime of its key, the key moves to a table.
 *
 * Two tables take turns. Each takes keys for one lifetime, and is dropped after the next one. So no row is deleted.
 */
export class IdempotencyKeys {
  readonly #storage: DurableObjectStorage;
  readonly #log: MessageLog;
  /** The positions of the keys in the log, oldest first; undefined until they are needed. */
  #inLog: Map<string, number> | undefined;
  /** The keys of all messages up to this `seq` were moved. */
  #movedTo = 0;
  #marks: Marks | undefined;

  constructor(storage: DurableObjectStorage, log: MessageLog) {
    this.#storage = storage;
    this.#log = log;
    this.#marks = storage.kv.get<Marks>("idempotency");
  }

  /** Returns what is known about a key, undefined if it is new. */
  find({ key, digest }: Key): Remembered | undefined {
    const seq = this.#keysInLog().get(key);
    const message = seq === undefined ? undefined : this.#log.keyedAt(seq);
    if (seq !== undefined && message && Date.now() - message.time < KEY_LIFETIME_MS) {
      return { seq, time: message.time, isSame: message.digest === digest };
    }
    // Without marks, no key was ever moved and there are no tables.
    if (!this.#marks) return undefined;
    const [found] = this.#storage.sql.exec<Position & { digest: number }>(
      `SELECT digest, seq, time FROM idempotency_0 WHERE key = ?1
       UNION ALL SELECT digest, seq, time FROM idempotency_1 WHERE key = ?1`,
      key,
    );
    return found && { seq: found.seq, time: found.time, isSame: found.digest === digest };
  }

  /**
   * Returns 0 if there is room for another key of this kind of caller, otherwise the seconds after which to try again.
   */
  secondsUntilRoom(kind: Identity["kind"], now: number): number {
    const { since } = this.#marks ? this.#takeTurns(now) : { since: now };
    if (this.#storage.sql.databaseSize < MAX_STORAGE_BYTES_FOR_KEYS[kind]) return 0;
    return Math.max(1, Math.min(MAX_RETRY_AFTER_SECONDS, Math.ceil((since + KEY_LIFETIME_MS - now) / 1000)));
  }

  /** Records that the log contains the message of a key. */
  stored(key: string, { seq }: Position): void {
    const keys = this.#keysInLog();
    // A key that was stored before, and has expired, gets a new place: the keys are in the order of their messages.
    keys.delete(key);
    keys.set(key, seq);
  }

  /**
   * Keeps the keys of the messages that the next messages will overwrite. Call it before they are appended, in the same
   * turn of the event loop.
   *
   * @param count The number of the next messages.
   */
  moveOverwritten(count: number): void {
    const { last, capacity, oldest, lastKeyed } = this.#log;
    const overwritten = last + count - capacity;
    if (overwritten < oldest || oldest > lastKeyed || overwritten <= this.#movedTo) return;
    const now = Date.now();
    // Some more are moved at once, so that not each append needs a statement.
    const to = Math.min(last, overwritten + Math.floor(capacity / MOVES_PER_ROUND));
    this.#log.copyKeys({ from: oldest, to }, `idempotency_${this.#takeTurns(now).current}`, now - KEY_LIFETIME_MS + 1);
    this.#movedTo = to;
    for (const [key, seq] of this.#keysInLog()) {
      if (seq > to) return;
      this.#keysInLog().delete(key);
    }
  }

  #keysInLog(): Map<string, number> {
    return (this.#inLog ??= this.#log.keyed());
  }

  #takeTurns(now: number): Marks {
    if (!this.#marks) {
      this.#create(0);
      this.#create(1);
      return this.#mark({ current: 0, since: now });
    }
    if (now - this.#marks.since < KEY_LIFETIME_MS) return this.#marks;
    const next = 1 - this.#marks.current;
    this.#storage.sql.exec(`DROP TABLE idempotency_${next}`);
    this.#create(next);
    return this.#mark({ current: next, since: now });
  }

  #create(table: number): void {
    this.#storage.sql.exec(
      `CREATE TABLE idempotency_${table} (key TEXT PRIMARY KEY, digest INTEGER NOT NULL, seq INTEGER NOT NULL,
         time INTEGER NOT NULL) WITHOUT ROWID`,
    );
  }

  #mark(marks: Marks): Marks {
    this.#storage.kv.put("idempotency", marks);
    this.#marks = marks;
    return marks;
  }
}

/** Returns the key of a message, with a digest of its content. */
export function keyFor(who: Identity, id: string, content: Content): Key {
  const key = keyOf(who, id);
  return { key, digest: digestOf(contentOf(who, content)) };
}

/** The separator of the parts of a key. It occurs in none of them. */
const SEPARATOR = "\n";

/**
 * Returns the key under which a message is stored: the sender's scope, and the id that the sender chose. All API-key
 * clients share one scope, and so do all anonymous clients. A user is identified by the database's name, because a
 * `dbo_id` may be reused.
 */
export function keyOf(who: Identity, id: string): string {
  const scope = who.kind === "user" ? JSON.stringify([who.database, who.row_id]) : who.kind;
  return `${scope}${SEPARATOR}${id}`;
}

/**
 * Returns the id that this client gave a message, undefined if it did not send the message. Anonymous clients share
 * their keys, so a key does not show which of them sent a message.
 */
export function ownId(who: Identity, key: string | null): string | undefined {
  if (key === null || who.kind === "anonymous") return undefined;
  const scope = keyOf(who, "");
  return key.startsWith(scope) ? visibleId(key.slice(scope.length)) : undefined;
}

/** A character of the ids that the server makes. It occurs in no key that a caller sends. */
const OWN = " ";

/**
 * Returns the id of a message that is published with an `Idempotency-Key`. A short key is the id itself, so that the
 * same message may also be sent over a socket. A long one is replaced by its digest (SHA-256), because the object
 * stores ids.
 */
export async function idOfKey(key: string): Promise<string> {
  if (key.length <= MAX_FRAME_ID_CHARACTERS) return key;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
  return OWN + digest.slice(0, 16).toHex();
}

/** Returns the id of a message of a batch. */
export function idInBatch(batchId: string, index: number): string {
  return `${batchId}${OWN}${index}`;
}

/** Returns an id as its sender knows it, undefined if the server has made it. */
export function visibleId(id: string): string | undefined {
  return id.includes(OWN) ? undefined : id;
}

/**
 * Returns the content that a key stands for, as text. The sender of a message belongs to its key. Only an API-key
 * client may name another sender.
 */
function contentOf(who: Identity, { action, client, database, type, payload }: Content): string {
  const namesSender = action === "event" && who.kind === "server";
  return JSON.stringify([action, namesSender ? client : null, database, type, payload]);
}

/** Returns a hash of 53 bits (FNV-1a, two times 32 bits). It detects mistakes of a sender, not attacks. */
function digestOf(text: string): number {
  let [one, other] = [0x811c9dc5, 0x01000193];
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    one = Math.imul(one ^ unit, 0x01000193);
    other = Math.imul(other ^ (unit + index), 0x01000193);
  }
  return (one >>> 0) * 2 ** 21 + (other >>> 11);
}
