import type { ServerFrame } from "../../../packages/client/src/client.ts";

/** How much of a payload a closed row shows. */
const PREVIEW_CHARACTERS = 300;

/** One frame: a summary line that opens to show the whole JSON. The frame's content is shown as text, never as markup. */
export function FrameRow({ frame, at }: { frame: ServerFrame; at?: number }) {
  const { seq, time } = positionOf(frame);
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

/** A moment in local time, with the date unless it is today. */
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

/** Returns the position of a stored message. Other frames have none. */
function positionOf(frame: ServerFrame): { seq?: number; time?: string } {
  return frame.action === "event" || frame.action === "message"
    ? (frame.options as { seq?: number; time?: string })
    : {};
}

/** Returns the sender: a user's database number and id, or the first characters of an anonymous client's `socketId`. */
function senderOf(frame: ServerFrame): string {
  if (frame.action === "error" || !("client" in frame) || frame.client === undefined) return "";
  const { permissions, socketId } = frame.client;
  return permissions.dbo_id === 0 ? socketId.slice(0, 8) || "anonymous" : `${permissions.dbo_id}:${permissions.row_id}`;
}

function previewOf({ payload }: ServerFrame): string {
  if (payload === undefined) return "";
  const text = typeof payload === "string" ? payload : JSON.stringify(payload);
  return text.slice(0, PREVIEW_CHARACTERS);
}
