import { PEERS } from "./peers.ts";
import { median, type Results, roundsOf } from "./report.ts";

const [WIDTH, LEFT, BAR, GAP] = [760, 190, 18, 8];

/** The charts in the README: the CPU time of one delivery and of one publish on each server. */
const PANELS: [title: string, workload: string, figure: string, unit: string][] = [
  ["Server CPU per delivered message, 64 publishers, 100 subscribers", "64/100", "CPU µs/delivery", "µs"],
  ["Server CPU per stored publish, 64 publishers", "64/1", "CPU µs/publish", "µs"],
];

/** Returns the results as an SVG image, which follows the reader's color scheme. */
export function chart(results: Results): string {
  let y = 0;
  const panels = PANELS.map(([title, workload, figure, unit]) => {
    const peers = Object.keys(results.figures[workload] ?? {});
    const values = peers.map((peer) => median(results, workload, peer, figure) ?? 0);
    const scale = (WIDTH - LEFT - 90) / Math.max(...values, 1);
    const bars = peers.map((peer, index) => bar(peer, values[index] ?? 0, scale, unit, 34 + index * (BAR + GAP)));
    const panel = `<g transform="translate(0 ${y})"><text class="title" x="0" y="18">${escape(title)}</text>${bars.join("")}</g>`;
    y += 34 + peers.length * (BAR + GAP) + 16;
    return panel;
  });
  const fleeting = PEERS.flatMap(({ name, durable }) => (durable ? [] : name)).join(" and ");
  const note = `<text class="note" x="0" y="${y + 4}">Less is better. ${escape(fleeting)} store nothing. Medians of ${roundsOf(results)} rounds; ${escape(results.machine)}.</text>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 14}" role="img" aria-label="What a delivery and a publish cost each server">
<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } .note { font-size: 11px; fill: #59636e }
rect { fill: #9aa4b2 } .ours { fill: #d9480f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } rect { fill: #6b7685 } .ours { fill: #ff8f4d } }
</style>
${panels.join("\n")}
${note}
</svg>
`;
}

function bar(peer: string, value: number, scale: number, unit: string, y: number): string {
  const width = Math.max(1, value * scale);
  const kind = peer.startsWith("durable-channels") ? ' class="ours"' : "";
  const figure = value >= 100 ? String(Math.round(value)) : value.toFixed(1);
  return (
    `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${escape(peer)}</text>` +
    `<rect${kind} x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${BAR}" rx="2"/>` +
    `<text x="${(LEFT + width + 6).toFixed(1)}" y="${y + 14}">${figure} ${unit}</text>`
  );
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
