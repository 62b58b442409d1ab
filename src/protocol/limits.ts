/** Every bound on what a stranger controls, and on what one answer may cost, with its reason. */

/** Bytes of an HTTP request body and of a frame from a client: chat and state updates are far smaller. */
export const MAX_BODY_BYTES = 65_536;

/** Bytes of the body of a batch, messages in it, and channels that they may be for: each is a call to its object. */
export const MAX_BATCH_BYTES = 1_048_576;
export const MAX_BATCH_MESSAGES = 1_000;
export const MAX_BATCH_CHANNELS = 100;

/** Characters of an idempotency key. */
export const MAX_KEY_LENGTH = 255;

/**
 * Bytes of an object's storage at which it takes no more idempotency keys of API-key clients, users and anonymous clients. So
 * each kind leaves a reserve to the one before it. Storage ends at 10 GB, and the log may grow to 0.7 GB.
 */
export const MAX_DATABASE_BYTES = { server: 8 * 1024 ** 3, user: 4 * 1024 ** 3, anonymous: 2 * 1024 ** 3 };

/** Levels of arrays and objects in a message: keeps every recursive reader, ours and yours, off its stack's end. */
export const MAX_JSON_DEPTH = 64;

/** Characters in a channel's name. */
export const MAX_CHANNEL_NAME_LENGTH = 128;

/** Messages in one page of history. */
export const MAX_PAGE_SIZE = 1_000;
export const DEFAULT_PAGE_SIZE = 100;

/** Characters of a text that is searched for in history. One request searches at most `MAX_PAGE_SIZE` messages. */
export const MAX_SEARCH_LENGTH = 256;

/**
 * Bytes of message text after which a page of history, a `history` frame or a replay ends, whatever its count:
 * 1,000 messages of 64 KiB would not fit into a Worker's memory.
 */
export const MAX_PAGE_BYTES = 4 * 1024 * 1024;

/** Missed messages replayed on a `join`; a client further behind is told to page through history. */
export const MAX_REPLAY = 1_000;

/**
 * Text of replays and `history` frames that a channel sends, in UTF-16 units: this much per second in the long run, and this
 * much at once. Without a bound, a thousand clients that return together make the object hold 4 GiB.
 */
export const REPLAY_TEXT_PER_SECOND = 8 * 1024 * 1024;
export const REPLAY_TEXT_AT_ONCE = 32 * 1024 * 1024;

/** Text of a `history` frame while a channel has sent more than that, in UTF-16 units. */
export const MAX_BUSY_HISTORY_TEXT = 64 * 1024;

/**
 * Messages that a channel's log holds in its Durable Object. It bounds the backlog while D1 is away (a message is
 * only overwritten once archived) and how far back reading needs no D1.
 */
export const LOG_CAPACITY = 10_000;

/**
 * Sockets of one channel, and how many more are reserved for API-key clients: the runtime holds at most 32,768 hibernatable
 * sockets per object.
 */
export const MAX_SOCKETS = 32_000;
export const RESERVED_SOCKETS = 500;

/** Sockets of one user, and of the strangers behind one address, in one channel. */
export const MAX_SOCKETS_PER_USER = 50;
export const MAX_SOCKETS_PER_ADDRESS = 1_000;

/** Channels that one multiplexed connection may join: each is a connection from the Worker to an object. */
export const MAX_CHANNELS_PER_SOCKET = 100;

/**
 * Sockets that one multiplexed connection opens to channel objects over its life, failed attempts included. Each is a
 * subrequest of the request that holds the connection, and a token can add two reads of D1. Cloudflare allows 1,000
 * subrequests to its services per request on the free plan, and 10,000 on paid plans unless configured otherwise.
 */
export const MAX_OPENS_PER_SOCKET = 300;

/** Frames that a client may send: so many a second in the long run, and so many at once. */
export const FRAMES_PER_SECOND = 50;
export const FRAMES_AT_ONCE = 100;

/**
 * Frames over that rate after which a client is closed, and how many of them are forgiven per second: so a client that is
 * up to 20 % too fast is never closed, and a flood within a tenth of a second.
 */
export const REFUSED_FRAMES_AT_ONCE = 100;
export const REFUSED_FRAMES_PER_SECOND = 10;

/**
 * Sockets of one user, or of the anonymous clients of one address, that a channel closes for flooding before it refuses new
 * ones, and how many of them are forgiven per second. Workerd queues frames faster than any object can take them, so each
 * new flood costs the channel up to a second.
 */
export const FLOODS_AT_ONCE = 3;
export const FLOODS_PER_SECOND = 0.1;

/**
 * `history` frames that one client may ask a channel for: each is up to 4 MiB for a request of 63 bytes. Clients of Xano
 * Realtime may ask a few at once, for the channel and for its members.
 */
export const HISTORIES_PER_SECOND = 1;
export const HISTORIES_AT_ONCE = 3;

/**
 * What one sender may send to a channel: messages, and bytes of their JSON and their sender's in UTF-8. A recipient that sends a
 * heartbeat every 30 seconds has confirmed all but the last 75 seconds or so: at most 1 MiB + 75 * 64 KiB = 5.7 MiB of one
 * sender's, and with the rest of each frame less than the 8 MiB at which it counts as slow (CON7).
 */
export const SENDER_MESSAGES_AT_ONCE = 1_000;
export const SENDER_MESSAGES_PER_SECOND = 50;
export const SENDER_BYTES_AT_ONCE = 1024 * 1024;
export const SENDER_BYTES_PER_SECOND = 64 * 1024;

/** What all anonymous sockets of one address may send to a channel together. */
export const ADDRESS_MESSAGES_AT_ONCE = 5_000;
export const ADDRESS_MESSAGES_PER_SECOND = 500;
export const ADDRESS_BYTES_AT_ONCE = 8 * 1024 * 1024;
export const ADDRESS_BYTES_PER_SECOND = 1024 * 1024;

/** Users and addresses of which a channel remembers what they have sent lately. */
export const MAX_REMEMBERED_SENDERS = 5_000;

/** New members that a channel announces at once; others within a second, if they are still there. */
export const PRESENCE_JOINS_AT_ONCE = 100;
export const PRESENCE_JOINS_PER_SECOND = 50;

/** Members listed in one answer about presence; the total is always given. */
export const MAX_PRESENCE = 1_000;

/**
 * Bytes that anonymous clients may store in a channel per day: unless its settings say otherwise, and at most. They end up in
 * D1, of which a database holds 10 GB.
 */
export const DEFAULT_ANONYMOUS_BYTES_PER_DAY = 64 * 1024 ** 2;
export const MAX_ANONYMOUS_BYTES_PER_DAY = 1024 ** 4;

/** Characters of a channel's description. */
export const MAX_DESCRIPTION_LENGTH = 500;

/** Characters of a token, and bytes of the JSON text of its `extras`: both travel with every socket. */
export const MAX_TOKEN_LENGTH = 8_192;
export const MAX_EXTRAS_BYTES = 4_096;

/** Characters of an address of a key set, keys in a set, and bytes of one that is fetched: providers have two or three keys. */
export const MAX_ADDRESS_LENGTH = 2_048;
export const MAX_KEYS_PER_SET = 100;
export const MAX_KEY_SET_BYTES = 256 * 1024;

/**
 * Users of a database that are disconnected one by one, and for how long that counts: longer than tokens live. The entries
 * travel with each copy of the channels' settings.
 */
export const MAX_REVOCATIONS = 1_000;
export const REVOCATION_LIFETIME_MS = 30 * 24 * 60 * 60 * 1_000;

/** `seq` counts up by one from 1, so this bound is never met; it keeps a position an exact number. */
export const MAX_SEQ = Number.MAX_SAFE_INTEGER;
