import { decide, type Identity } from "../auth/policy.ts";
import { refuse, type Result } from "../protocol/errors.ts";
import { messageFrame } from "../protocol/frames.ts";
import type { Keys } from "./keys.ts";
import type { Log, NewMessage, Place } from "./log.ts";
import type { SettingsCopy } from "./settings.ts";
import type { Sockets } from "./sockets.ts";

/** A message to publish. */
export interface Publication {
  /** JSON. */
  payload: string;
  /** JSON: who sent it, where that is known. */
  client: string | null;
  /** The auth database whose users alone may see it, which must be the channel's. */
  database: string | null;
  /** For one that may be sent again: the key, and the digest of what it came with. */
  idempotency?: { key: string; digest: string };
}

/** What one caller publishes at once. */
export interface Submission {
  who: Identity;
  publications: readonly Publication[];
}

interface Needs {
  /** The channel's name. */
  channel: string;
  log: Log;
  keys: Keys;
  sockets: Sockets;
  settings: SettingsCopy;
  /** Called for each message that was stored, and so waits for the archive. */
  stored: () => void;
}

/** Gives messages their place, stores them, and delivers them. Nothing in here awaits. */
export class Publisher {
  readonly #needs: Needs;

  constructor(needs: Needs) {
    this.#needs = needs;
  }

  /** Publishes an event. One whose key is known already is answered as it was then. */
  publish(who: Identity, { payload, client, database, idempotency }: Publication): Result<Place> {
    const allowed = this.#decideDatabase(who, database);
    if (!allowed.ok) return allowed;
    const message: NewMessage = { action: "event", client, database, payload };
    if (!idempotency) return this.accept(message);
    const { keys } = this.#needs;
    const { key, digest } = idempotency;
    const known = keys.find(key);
    if (!known) return this.accept(message, (place) => keys.remember(key, { digest, ...place }));
    if (known.digest === digest) return { ok: true, value: { seq: known.seq, time: known.time } };
    const detail = "This key came with another message before; a new message needs a new key.";
    return refuse("key-reused", detail, { field: "Idempotency-Key" });
  }

  /**
   * Numbers, stores and delivers in one turn: the output gate lets no frame out before the commit is durable.
   *
   * @param within Stores in the same commit what belongs to the message.
   */
  accept(message: NewMessage, within?: (place: Place) => void): Result<Place> {
    const { channel, log, sockets, stored } = this.#needs;
    if (log.room < 1) {
      return refuse("backlog-full", "The channel takes no more until its archive has caught up.", { retryAfter: 5 });
    }
    const kept = log.append(message, within);
    sockets.broadcast(messageFrame(channel, kept), kept);
    stored();
    return { ok: true, value: { seq: kept.seq, time: kept.time } };
  }

  /** A message may be restricted to the users of the channel's own database, and by none but those and the server side. */
  #decideDatabase(who: Identity, database: string | null): Result<null> {
    if (database === null) return { ok: true, value: null };
    const settings = this.#needs.settings.current;
    if (database === settings?.database) return decide(who, "message-authenticated", settings);
    return refuse("forbidden", "This is not the auth database of the channel.", { field: "database" });
  }
}
