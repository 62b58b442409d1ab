import { useEffect, useRef, useState } from "preact/hooks";
import { createClient, type Member, type ServerFrame, type Status } from "../../client/client.ts";
import { Feed } from "./feed.ts";

/** How often the page is brought up to date while frames come, in milliseconds. */
const REFRESH = 100;

/** What a browser can offer as a subprotocol (RFC 9110, `token`): in no other way can it send a key with a WebSocket. */
const SENDABLE = /^[\w!#$%&'*+\-.^`|~]+$/;

export interface Connection {
  status: Status;
  /** What was refused last. */
  error: string | undefined;
  members: readonly Member[];
  total: number;
  feed: Feed;
  /** Changes the feed, and shows it. */
  change: (act: (feed: Feed) => void) => void;
}

/** A connection to a channel for as long as its page is open: its frames, and who is here. */
export function useConnection(channel: string, apiKey: string): Connection {
  const [status, setStatus] = useState<Status>("connecting");
  const [error, setError] = useState<string>();
  const [{ members, total }, setPresence] = useState<{ members: readonly Member[]; total: number }>(NOBODY);
  const [, show] = useState(0);
  const feed = useRef(new Feed()).current;

  useEffect(() => {
    if (!SENDABLE.test(apiKey)) {
      setStatus("closed");
      return setError("This key holds characters that a browser cannot send with a WebSocket.");
    }
    const room = createClient({ token: apiKey }).channel(channel, { history: true, presence: true });
    let arrived: ServerFrame[] = [];
    const refresh = setInterval(() => {
      if (arrived.length === 0) return;
      feed.add(arrived, Date.now());
      arrived = [];
      show((count) => count + 1);
    }, REFRESH);
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

const NOBODY = { members: [], total: 0 };

/** History comes as one frame; a reader wants its messages. */
function unpacked(frame: ServerFrame): ServerFrame[] {
  return frame.action === "history" ? frame.payload : [frame];
}
