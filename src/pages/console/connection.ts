import { useEffect, useRef, useState } from "preact/hooks";
import { createClient, type Member, type ServerFrame, type Status } from "../../../packages/client/src/client.ts";
import { Feed } from "./feed.ts";

/** How often the page shows newly received frames. */
const REFRESH_MS = 100;

/** The characters of a subprotocol (RFC 9110, `token`). A browser can send a key with a WebSocket only as a subprotocol. */
const SENDABLE = /^[\w!#$%&'*+\-.^`|~]+$/;

export interface Connection {
  status: Status;
  /** The message of the last error. */
  error: string | undefined;
  members: readonly Member[];
  total: number;
  feed: Feed;
  /** Changes the feed and renders it. */
  change: (act: (feed: Feed) => void) => void;
}

/** Connects to a channel while its page is open. Returns the channel's frames, members and status. */
export function useConnection(channel: string, apiKey: string): Connection {
  const [status, setStatus] = useState<Status>("connecting");
  const [error, setError] = useState<string>();
  const [{ members, total }, setPresence] = useState<{ members: readonly Member[]; total: number }>(NO_MEMBERS);
  const [, show] = useState(0);
  const feed = useRef(new Feed()).current;

  useEffect(() => {
    if (!SENDABLE.test(apiKey)) {
      setStatus("closed");
      return setError("A browser cannot send this key with a WebSocket. Use a key of letters, digits and - _ . only.");
    }
    const room = createClient({ token: apiKey }).channel(channel, { history: true, presence: true });
    let arrived: ServerFrame[] = [];
    const refresh = setInterval(() => {
      if (arrived.length === 0) return;
      feed.add(arrived, Date.now());
      arrived = [];
      show((count) => count + 1);
    }, REFRESH_MS);
    room.on("frame", (frame) => arrived.push(...unpacked(frame)));
    room.on("status", setStatus);
    room.on("presence", setPresence);
    room.on("error", ({ message }) => setError(message));
    return () => {
      clearInterval(refresh);
      room.close();
    };
  }, [channel, apiKey]);

  const change = (act: (feed: Feed) => void) => {
    act(feed);
    show((count) => count + 1);
  };
  return { status, error, members, total, feed, change };
}

const NO_MEMBERS = { members: [], total: 0 };

/** Returns the messages of a history frame, or any other frame itself. */
function unpacked(frame: ServerFrame): ServerFrame[] {
  return frame.action === "history" ? frame.payload : [frame];
}
