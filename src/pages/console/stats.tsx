import { useEffect, useState } from "preact/hooks";
import { type Api, pathOf, type Problem, problemOf } from "./api.ts";
import { Bars, Line } from "./chart.tsx";
import { Refusal } from "./form.tsx";
import type { Point } from "./scale.ts";

/** What `GET /channels/{channel}/stats` answers (STA1). */
interface ChannelStats {
  seq: number;
  archived: number;
  backlog: number;
  capacity: number;
  sockets: number;
  joined: number;
  minutes: { time: string; messages: number | null }[];
}

/** How often the server is asked, in milliseconds, and how many answers about the backlog are kept: half an hour's. */
const PERIOD = 3_000;
const SAMPLES = 600;

/**
 * How the channel is doing: asked for again and again while it can be seen, and the backlog over that time.
 *
 * @param shown Whether its tab is the open one.
 */
export function Stats({ api, channel, shown }: { api: Api; channel: string; shown: boolean }) {
  const [stats, setStats] = useState<ChannelStats>();
  const [backlog, setBacklog] = useState<Point[]>([]);
  const [problem, setProblem] = useState<Problem>();

  useWhileSeen(shown, PERIOD, async () => {
    try {
      const now = await api.get<ChannelStats>(pathOf(channel, "/stats"));
      setStats(now);
      setBacklog((before) => [...before, { at: Date.now(), value: now.backlog }].slice(-SAMPLES));
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
          title="Messages a minute, last hour"
          points={stats.minutes.map(({ time, messages }) => ({ at: Date.parse(time), value: messages }))}
        />
      )}
      {backlog.length > 0 && <Line title="Backlog of the archive, since this page is open" points={backlog} />}
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

/** Does something at once and then from time to time, but only while the reader can see what comes of it. */
function useWhileSeen(shown: boolean, period: number, act: () => Promise<void>): void {
  useEffect(() => {
    if (!shown) return undefined;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const turn = async () => {
      clearTimeout(timer);
      if (document.hidden) return;
      await act();
      clearTimeout(timer);
      if (!over) timer = setTimeout(() => void turn(), period);
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
