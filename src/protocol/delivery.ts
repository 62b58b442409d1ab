import * as v from "valibot";
import type { Recipient } from "./frames.ts";
import { DatabaseName, DatabaseNumber, fields, MessageType, UserId } from "./values.ts";

const SocketId = v.pipe(v.string("must be a string"), v.maxLength(64, "must have at most 64 characters"));

/** The fields of a message that say what it is and who gets it: the same in frames and in HTTP bodies. */
const DELIVERY = {
  type: v.optional(MessageType),
  /** Whether the message is only delivered, and not stored. */
  ephemeral: v.optional(v.boolean("must be true or false")),
  /** The only recipient. The message is then not stored. */
  socketId: v.optional(SocketId),
  /** The user whose sockets are the only recipients, as in `permissions`. The message is then not stored. */
  user: v.optional(fields({ dbo_id: DatabaseNumber, row_id: UserId })),
  /** The socket that does not get the message live. */
  except: v.optional(SocketId),
};

/** Returns a schema for an object with these fields and the fields of `DELIVERY`. */
export function deliverable<const E extends v.ObjectEntries>(entries: E) {
  return v.pipe(
    fields({ ...entries, ...DELIVERY }),
    v.check((message) => namesAtMostOne(message), "may have only one of socketId, user and except"),
  );
}

function namesAtMostOne({ socketId, user, except }: { socketId?: unknown; user?: unknown; except?: unknown }): boolean {
  return [socketId, user, except].filter((given) => given !== undefined).length <= 1;
}

/** The user to whom an event is attributed. */
export const Sender = fields({ database: DatabaseName, id: UserId });

/** Returns the only recipients of a message, undefined if it is for all subscribers. */
export function recipientOf({
  socketId,
  user,
}: {
  socketId?: string | undefined;
  user?: { dbo_id: number; row_id: number | string } | undefined;
}): Recipient | undefined {
  if (socketId !== undefined) return { socketId };
  return user && { user };
}
