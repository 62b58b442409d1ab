import type { ComponentChildren } from "preact";
import { ceilingOf, type Point } from "./scale.ts";

interface Props {
  title: string;
  points: readonly Point[];
}

/** The drawing's own units; it is scaled to the width there is. */
const WIDTH = 600;
const HEIGHT = 140;

/** One bar a point. */
export function Bars({ title, points }: Props) {
  const top = ceilingOf(points);
  const step = WIDTH / points.length;
  return (
    <Chart title={title} points={points} top={top}>
      {points.map(({ at, value }, index) => {
        const height = ((value ?? 0) / top) * HEIGHT;
        return (
          <rect
            key={at}
            class={value === null ? "unknown" : "bar"}
            x={index * step + 1}
            y={value === null ? 0 : HEIGHT - height}
            width={step - 2}
            height={value === null ? HEIGHT : height}
          >
            <title>{`${clock(at)}: ${wordsFor(value)}`}</title>
          </rect>
        );
      })}
    </Chart>
  );
}

/** A line through the points, by their time. */
export function Line({ title, points }: Props) {
  const top = ceilingOf(points);
  const [first, last] = [points[0]?.at ?? 0, points.at(-1)?.at ?? 0];
  const span = Math.max(1, last - first);
  const places = points.map(({ at, value }) => {
    return `${((at - first) / span) * WIDTH},${HEIGHT - ((value ?? 0) / top) * HEIGHT}`;
  });
  // A single point is a level so far.
  if (points.length === 1) places.push(`${WIDTH},${places[0]?.split(",")[1]}`);
  return (
    <Chart title={title} points={points} top={top}>
      <polygon class="area" points={`0,${HEIGHT} ${places.join(" ")} ${WIDTH},${HEIGHT}`} />
      <polyline class="line" points={places.join(" ")} />
    </Chart>
  );
}

/** The frame of a chart: what it shows, its scale, and the same as a table for who does not see it. */
function Chart({ title, points, top, children }: Props & { top: number; children: ComponentChildren }) {
  return (
    <figure>
      <figcaption>
        {title} <small>{summaryOf(points)}</small>
      </figcaption>
      <div class="chart">
        <span class="scale">{top.toLocaleString()}</span>
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={title}>
          {children}
        </svg>
        <span class="times">
          <span>{clock(points[0]?.at ?? 0)}</span>
          <span>{clock(points.at(-1)?.at ?? 0)}</span>
        </span>
      </div>
      <details>
        <summary>As a table</summary>
        <div class="scroll table" tabIndex={0} role="region" aria-label={`${title}, as a table`}>
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Messages</th>
              </tr>
            </thead>
            <tbody>
              {points.toReversed().map(({ at, value }) => (
                <tr key={at}>
                  <td>{clock(at)}</td>
                  <td>{wordsFor(value)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}

function summaryOf(points: readonly Point[]): string {
  const known = points.flatMap(({ value }) => value ?? []);
  return `now ${wordsFor(points.at(-1)?.value ?? null)}, at most ${Math.max(0, ...known).toLocaleString()}`;
}

function wordsFor(value: number | null): string {
  return value === null ? "not known" : value.toLocaleString();
}

/** Seconds only where there are any. */
function clock(at: number): string {
  return new Date(at).toLocaleTimeString([], { timeStyle: at % 60_000 === 0 ? "short" : "medium" });
}
