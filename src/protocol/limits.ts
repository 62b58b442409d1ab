/** All limits on what clients control and on what one response may cost, with their reasons. */

/** Bytes of a request body, and of a frame from a client. Chat messages and state updates are far smaller. */
export const MAX_BODY_BYTES = 65_536;

/** Bytes, messages and channels of a batch. Each channel costs a call to its object. */
export const MAX_BATCH_BYTES = 1_048_576;
export const MAX_BATCH_MESSAGES = 1_000;
export const MAX_BATCH_CHANNELS = 100;

/** Characters of an idempotency key. */
export const MAX_IDEMPOTENCY_KEY_CHARACTERS = 255;

/** Characters of the id of a frame. It is also the idempotency key of a stored message. */
export const MAX_FRAME_ID_CHARACTERS = 64;

/** Characters of a message's type. */
export const MAX_TYPE_CHARACTERS = 64;

/**
 * Bytes of a member's state as JSON. It is stored with the socket, in at most 16,384 bytes together with the user's
 * `extras`, and is part of every list of members.
 */
export const MAX_STATE_BYTES = 1_024;

/**
 * Bytes of an object's storage at which it refuses new idempotency keys, by kind of caller. So users leave a reserve
 * for API-key clients, and anonymous clients leave one for users. An object's storage may have 10 GB, of which the log
 * may take 0.7 GB.
 */
export const MAX_STORAGE_BYTES_FOR_KEYS = { server: 8 * 1024 ** 3, user: 4 * 1024 ** 3, anonymous: 2 * 1024 ** 3 };

/**
 * Levels of arrays and objects in a message. It protects recursive code, the server's and yours, from a stack overflow.
 */
export const MAX_JSON_DEPTH = 64;

/** Characters in a channel's name. */
export const MAX_CHANNEL_NAME_CHARACTERS = 128;

/** Messages in one page of history. */
export const MAX_PAGE_SIZE = 1_000;
export const DEFAULT_PAGE_SIZE = 100;

/** Characters of a search text. One request searches at most `MAX_PAGE_SIZE` messages. */
export const MAX_SEARCH_CHARACTERS = 256;

/**
 * The text at which a history page, a `history` frame or a replay ends, in UTF-16 units. 1,000 messages of 64 KiB would
 * not fit into a Worker's memory.
 */
export const MAX_PAGE_CHARACTERS = 4 * 1024 * 1024;

/** Missed messages that are replayed on a `join`. A client that missed more pages through history instead. */
export const MAX_REPLAY_MESSAGES = 1_000;

/**
 * Text of replays and `history` frames that a channel sends, in UTF-16 units: per second in the long run, and at once.
 * Without this limit, a thousand clients that reconnect together could make the object hold 4 GiB.
 */
export const REPLAY_CHARACTERS_PER_SECOND = 8 * 1024 * 1024;
export const REPLAY_CHARACTERS_AT_ONCE = 32 * 1024 * 1024;

/** Text of a `history` frame while a channel exceeds that limit, in UTF-16 units. */
export const MAX_BUSY_HISTORY_CHARACTERS = 64 * 1024;

/**
 * Messages in a channel's log. It limits the backlog while D1 does not answer, because only archived messages are
 * overwritten. It also limits how much history can be read without D1.
 */
export const LOG_CAPACITY = 10_000;

/**
 * Sockets of one channel, and further ones that are reserved for API-key clients. The runtime allows 32,768
 * hibernatable sockets per object.
 */
export const MAX_SOCKETS = 32_000;
export const RESERVED_SOCKETS = 500;

/** Sockets of one user, and of the anonymous clients of one address, on one channel. */
export const MAX_SOCKETS_PER_USER = 50;
export const MAX_SOCKETS_PER_ADDRESS = 1_000;

/** Channels that one multiplexed connection may join. Each needs a socket from the Worker to an object. */
export const MAX_CHANNELS_PER_SOCKET = 100;

/**
 * Sockets to channel objects that one multiplexed connection opens over its life, including failed attempts. Each is a
 * subrequest of the request that holds the connection, and a token can add two reads of D1. Cloudflare allows 1,000
 * subrequests to its services per request on the free plan, and 10,000 on paid plans unless configured otherwise.
 */
export const MAX_OPENS_PER_SOCKET = 300;

/** Frames that a client may send: per second in the long run, and at once. */
export const FRAMES_PER_SECOND = 50;
export const FRAMES_AT_ONCE = 100;

/** Frames, and bytes, of an array of frames from a client. */
export const MAX_ARRAY_FRAMES = FRAMES_AT_ONCE;
export const MAX_ARRAY_BYTES = MAX_BATCH_BYTES;

/**
 * Refused frames after which the server closes a client's connection, and the number of them that it forgets per
 * second. So a client that is up to 20 % too fast is never closed, and a flood is closed within a tenth of a second.
 */
export const REFUSED_FRAMES_AT_ONCE = 100;
export const REFUSED_FRAMES_PER_SECOND = 10;

/**
 * Sockets of one user, or of the anonymous clients of one address, that a channel closes for flooding before it refuses
 * new ones, and the number of them that it forgets per second. Workerd queues frames faster than an object can handle
 * them, so each new flood costs the channel up to a second.
 */
export const FLOODS_AT_ONCE = 3;
export const FLOODS_PER_SECOND = 0.1;

/**
 * `history` frames that one client gets from a channel. Each has up to 4 MiB, for a request of 63 bytes. Xano
 * Realtime's clients may request a few at once, for the channel and its members.
 */
export const HISTORIES_PER_SECOND = 1;
export const HISTORIES_AT_ONCE = 3;

/**
 * What one sender may send to a channel: messages, and bytes of UTF-8 of their JSON and their sender's. A recipient
 * that sends a heartbeat every 30 seconds has confirmed everything except about the last 75 seconds. That is at most 1
 * MiB + 75 * 64 KiB = 5.7 MiB from one sender. Including the other parts of each frame, it is less than the 8 MiB at
 * which the recipient counts as slow (CON7).
 */
export const SENDER_MESSAGES_AT_ONCE = 1_000;
export const SENDER_MESSAGES_PER_SECOND = 50;
export const SENDER_BYTES_AT_ONCE = 1024 * 1024;
export const SENDER_BYTES_PER_SECOND = 64 * 1024;

/** What all anonymous sockets of one address together may send to a channel. */
export const ADDRESS_MESSAGES_AT_ONCE = 5_000;
export const ADDRESS_MESSAGES_PER_SECOND = 500;
export const ADDRESS_BYTES_AT_ONCE = 8 * 1024 * 1024;
export const ADDRESS_BYTES_PER_SECOND = 1024 * 1024;

/** Users and addresses whose recent messages a channel counts. */
export const MAX_REMEMBERED_SENDERS = 5_000;

/**
 * New members that a channel announces at once: in a burst, and per second in the long run. It announces others within
 * a second, if they are still there.
 */
export const PRESENCE_JOINS_AT_ONCE = 100;
export const PRESENCE_JOINS_PER_SECOND = 50;

/** Members in one answer about presence. The answer always has their total. */
export const MAX_LISTED_MEMBERS = 1_000;

/**
 * Bytes that anonymous clients may store in a channel per day: the default of the setting, and its largest value. They
 * are archived in D1, whose databases may have 10 GB.
 */
export const DEFAULT_ANONYMOUS_BYTES_PER_DAY = 64 * 1024 ** 2;
export const MAX_ANONYMOUS_BYTES_PER_DAY = 1024 ** 4;

/** Characters of a channel's description. */
export const MAX_DESCRIPTION_CHARACTERS = 500;

/** Characters of a token, and bytes of its `extras` as JSON. Both are sent with every socket. */
export const MAX_TOKEN_CHARACTERS = 8_192;
export const MAX_EXTRAS_BYTES = 4_096;

/**
 * Limits of a key set: characters of its address, keys, and bytes if it is fetched. Providers have two or three keys.
 */
export const MAX_KEY_SET_ADDRESS_CHARACTERS = 2_048;
export const MAX_KEYS_PER_SET = 100;
export const MAX_KEY_SET_BYTES = 256 * 1024;

/**
 * Users of a database that may be disconnected one by one, and how long that counts, which is longer than tokens live.
 * The entries are part of each copy of a channel's settings.
 */
export const MAX_REVOCATIONS = 1_000;
export const REVOCATION_LIFETIME_MS = 30 * 24 * 60 * 60 * 1_000;

/** The largest position that is an exact number. `seq` grows by one from 1, so it never reaches this. */
export const MAX_SEQ = Number.MAX_SAFE_INTEGER;
