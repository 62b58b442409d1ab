import type { ComponentChildren } from "preact";
import { ceilingOf, type Point } from "./scale.ts";

interface Props {
  title: string;
  points: readonly Point[];
}

/** The size in SVG units. The chart is scaled to the available width. */
const WIDTH = 600;
const HEIGHT = 140;

/** A chart with one bar per point. */
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

/** A chart with a line through the points. */
export function Line({ title, points }: Props) {
  const top = ceilingOf(points);
  const [first, last] = [points[0]?.at ?? 0, points.at(-1)?.at ?? 0];
  const span = Math.max(1, last - first);
  const corners = points.map(({ at, value }) => {
    return `${((at - first) / span) * WIDTH},${HEIGHT - ((value ?? 0) / top) * HEIGHT}`;
  });
  // A single point is drawn as a horizontal line.
  if (points.length === 1) corners.push(`${WIDTH},${corners[0]?.split(",")[1]}`);
  return (
    <Chart title={title} points={points} top={top}>
      <polygon class="area" points={`0,${HEIGHT} ${corners.join(" ")} ${WIDTH},${HEIGHT}`} />
      <polyline class="line" points={corners.join(" ")} />
    </Chart>
  );
}

/** The title, scale and times of a chart, and its values as a table, for example for screen readers. */
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
  return value === null ? "unknown" : value.toLocaleString();
}

/** Returns the time of day, with seconds unless they are zero. */
function clock(at: number): string {
  return new Date(at).toLocaleTimeString([], { timeStyle: at % 60_000 === 0 ? "short" : "medium" });
}
