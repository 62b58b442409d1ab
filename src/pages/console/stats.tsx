import { useEffect, useState } from "preact/hooks";
import { type Api, pathOf, type Problem, problemOf } from "./api.ts";
import { Bars, Line } from "./chart.tsx";
import { Refusal } from "./form.tsx";
import type { Point } from "./scale.ts";

/** The answer of `GET /channels/{channel}/stats` (STA1). */
interface ChannelStats {
  seq: number;
  archived: number;
  backlog: number;
  capacity: number;
  sockets: number;
  joined: number;
  minutes: { time: string; messages: number | null }[];
}

const REFRESH_MS = 3_000;
/** How many values of the backlog are kept: half an hour. */
const MAX_SAMPLES = 600;

/**
 * The channel's statistics, requested every 3 seconds while they are visible, with a chart of the backlog over that time.
 *
 * @param shown Whether the statistics tab is open.
 */
export function Stats({ api, channel, shown }: { api: Api; channel: string; shown: boolean }) {
  const [stats, setStats] = useState<ChannelStats>();
  const [backlog, setBacklog] = useState<Point[]>([]);
  const [problem, setProblem] = useState<Problem>();

  useWhileVisible(shown, REFRESH_MS, async () => {
    try {
      const now = await api.get<ChannelStats>(pathOf(channel, "/stats"));
      setStats(now);
      setBacklog((before) => [...before, { at: Date.now(), value: now.backlog }].slice(-MAX_SAMPLES));
      setProblem(undefined);
    } catch (refused) {
      setProblem(problemOf(refused));
    }
  });

  return (
    <>
      <Refusal problem={problem} />
      {stats && <Numbers stats={stats} />}
      {stats && (
        <Bars
          title="Messages per minute, last hour"
          points={stats.minutes.map(({ time, messages }) => ({ at: Date.parse(time), value: messages }))}
        />
      )}
      {backlog.length > 0 && <Line title="Backlog since this page was opened" points={backlog} />}
    </>
  );
}

function Numbers({ stats: { seq, archived, backlog, capacity, sockets, joined } }: { stats: ChannelStats }) {
  const all: [string, number, string][] = [
    ["Last seq", seq, ""],
    ["Archived up to", archived, ""],
    ["Backlog", backlog, `of at most ${capacity.toLocaleString()}`],
    ["Sockets", sockets, `${joined.toLocaleString()} joined`],
  ];
  return (
    <dl class="numbers">
      {all.map(([name, value, more]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>
            {value.toLocaleString()} {more !== "" && <small>{more}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** Calls a function at once and then repeatedly, but only while the result is visible. */
function useWhileVisible(shown: boolean, periodMs: number, act: () => Promise<void>): void {
  useEffect(() => {
    if (!shown) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const turn = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      await act();
      clearTimeout(timer);
      if (!over) timer = setTimeout(() => void turn(), periodMs);
    };
    const seen = () => void turn();
    document.addEventListener("visibilitychange", seen);
    seen();
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [shown]);
}
