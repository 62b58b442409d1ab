import type { ServerFrame } from "../../client/client.ts";

/** Characters of a payload that a row shows before it is opened. */
const PREVIEW = 300;

/** One frame: a line that says what it is, which opens to its whole JSON. All that came from outside is shown as text. */
export function FrameRow({ frame, at }: { frame: ServerFrame; at?: number }) {
  const { seq, time } = placeOf(frame);
  const when = time ?? at;
  return (
    <li>
      <details>
        <summary>
          <span class="seq">{seq === undefined ? "–" : `#${seq}`}</span>
          {when !== undefined && <Time at={when} />}
          <span class={`action ${frame.action}`}>{frame.action}</span>
          <span class="who">{senderOf(frame)}</span>
          <span class="preview">{previewOf(frame)}</span>
        </summary>
        <pre tabIndex={0} aria-label="The frame as JSON">
          {JSON.stringify(frame, null, 2)}
        </pre>
      </details>
    </li>
  );
}

/** A moment as the reader's clock shows it; the date, where it is not today. */
export function Time({ at }: { at: string | number }) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  const text = isToday
    ? date.toLocaleTimeString([], { timeStyle: "medium" })
    : date.toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  return (
    <time dateTime={date.toISOString()} title={date.toISOString()}>
      {text}
    </time>
  );
}

/** Where a stored message stands; nothing of that, where it is no such. */
function placeOf(frame: ServerFrame): { seq?: number; time?: string } {
  return frame.action === "event" || frame.action === "message"
    ? (frame.options as { seq?: number; time?: string })
    : {};
}

/** Who sent it: the user's id in the database of that number, or the connection of an anonymous client, if it has one. */
function senderOf(frame: ServerFrame): string {
  if (frame.action === "error" || !("client" in frame) || frame.client === undefined) return "";
  const { permissions, socketId } = frame.client;
  return permissions.dbo_id === 0 ? socketId.slice(0, 8) || "anonymous" : `${permissions.dbo_id}:${permissions.row_id}`;
}

function previewOf({ payload }: ServerFrame): string {
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  return text.slice(0, PREVIEW);
}
