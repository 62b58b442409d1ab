import { useState } from "preact/hooks";
import type { Connection } from "./connection.ts";
import { type Feed, matches } from "./feed.ts";
import { Select, Text } from "./form.tsx";
import { FrameRow } from "./frame.tsx";

const ACTIONS = ["event", "message", "presence_full", "presence_update", "join", "leave", "error"];

/** A channel's live frames, the newest first, with a filter and a Pause button. */
export function Live({ connection: { feed, change } }: { connection: Connection }) {
  const [action, setAction] = useState("");
  const [text, setText] = useState("");
  const shown = feed.entries.filter((entry) => matches(entry, action, text)).toReversed();
  return (
    <>
      <div class="toolbar" role="group" aria-label="Filter">
        <Select label="Action" none="all" options={ACTIONS} value={action} onChange={setAction} />
        <Text label="Contains" kind="search" value={text} onInput={setText} />
        <button aria-pressed={feed.paused} onClick={() => change((one) => (one.paused ? one.resume() : one.pause()))}>
          {feed.paused ? "Resume" : "Pause"}
        </button>
        <button onClick={() => change((one) => one.clear())}>Clear</button>
      </div>
      <p class="hint">
        {summaryOf(shown.length, feed.entries.length)} <span role="status">{feed.paused && pauseOf(feed)}</span>
      </p>
      <ol class="frames" aria-label="Frames, the newest first">
        {shown.map(({ id, at, frame }) => (
          <FrameRow key={id} frame={frame} at={at} />
        ))}
      </ol>
    </>
  );
}

function pauseOf({ waiting, dropped }: Feed): string {
  return `Paused: ${waiting} waiting${dropped > 0 ? `, ${dropped} older ones dropped` : ""}.`;
}

function summaryOf(shown: number, kept: number): string {
  return shown === kept ? `${kept} frames.` : `${shown} of ${kept} frames.`;
}
