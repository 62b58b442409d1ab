import type { Peer } from "./peers.ts";

export interface Results {
  /** When the last part was measured: 2026-11-27. */
  date: string;
  machine: string;
  runtime: string;
  /** One value per round, by workload, peer and figure. */
  figures: Record<string, Record<string, Record<string, number[]>>>;
  failures: string[];
}

/** The rows of the table: a label, a workload, and one of its figures. */
const COLUMNS: [title: string, workload: string, figure: string][] = [
  ["publish µs, 1/1", "1/1", "CPU µs/publish"],
  ["publish µs, 64/1", "64/1", "CPU µs/publish"],
  ["publishes/s, 64/1", "64/1", "publishes/s"],
  ["publish µs over sockets, 64/1", "socket 64/1", "CPU µs/publish"],
  ["publish µs over one socket, 64 in flight", "acks 64/1", "CPU µs/publish"],
  ["publishes/s over one socket, 64 in flight", "acks 64/1", "publishes/s"],
  ["publish µs over one socket, 1,600 in flight", "acks 16x100/1", "CPU µs/publish"],
  ["publish µs, batches of 100", "16x100/1", "CPU µs/publish"],
  ["delivery µs, 1/100", "1/100", "CPU µs/delivery"],
  ["delivery µs, 64/100", "64/100", "CPU µs/delivery"],
  ["delivery µs, over sockets 64/100", "socket 64/100", "CPU µs/delivery"],
  ["deliveries/s, 64/100", "64/100", "deliveries/s"],
  ["delivery µs, 4/1000", "4/1000", "CPU µs/delivery"],
  ["delivery µs, batches to 100", "16x100/100", "CPU µs/delivery"],
  ["p50 ms, 1/1", "paced 1/1", "delivery p50 µs"],
  ["p99 ms, 1/1", "paced 1/1", "delivery p99 µs"],
  ["answer p50 ms, 1/1", "paced 1/1", "answer p50 µs"],
  ["ack p50 ms, 1/1", "paced acks 1/1", "answer p50 µs"],
  ["p50 ms, 1/100", "paced 1/100", "delivery p50 µs"],
  ["p99 ms, 1/100", "paced 1/100", "delivery p99 µs"],
  ["channel µs, 10,000 channels", "channels", "CPU µs/channel"],
  ["kB per idle socket", "idle", "bytes a socket"],
  ["CPU µs per second, all idle", "idle", "CPU µs/s with all idle"],
  ["connect ms, 1,000", "storm", "connect ms"],
  ["resume ms, 1,000 × 100", "storm", "resume ms"],
  ["fsyncs per message", "fsyncs", "fsyncs a message"],
];

/** Returns the median of a figure over the rounds, or undefined if it was not measured. */
export function median(results: Results, workload: string, peer: string, figure: string): number | undefined {
  const values = results.figures[workload]?.[peer]?.[figure]?.toSorted((a, b) => a - b);
  return values?.[Math.floor(values.length / 2)];
}

/** Returns the number of rounds of a workload, or the largest number of rounds of any workload. */
export function roundsOf(results: Results, workload?: string): number {
  const { figures } = results;
  const peers = workload === undefined ? Object.values(figures) : [figures[workload] ?? {}];
  const values = peers.flatMap((peer) => Object.values(peer).flatMap((named) => Object.values(named)));
  return Math.max(0, ...values.map(({ length }) => length));
}

/** Returns a Markdown table with a row per figure and a column per peer. An asterisk marks figures that the load generator limited. */
export function table(results: Results, peers: readonly Peer[]): string {
  const head = ["", ...peers.map(({ name }) => name)];
  const rows = COLUMNS.map(([title, workload, figure]) =>
    [titled(results, title, workload)].concat(peers.map(({ name }) => cell(results, workload, name, figure))),
  );
  const alone = ["delivery alone µs, 64/100", ...peers.map(({ name }) => deliveryAlone(results, name))];
  const filled = [...rows, alone].filter(([, ...cells]) => cells.some((text) => text !== ""));
  const cost = Object.entries(results.figures["cost"] ?? {}).flatMap(([, figures]) =>
    Object.entries(figures).map(([name, [value = NaN]]) => `- ${name}: ${value.toFixed(3)}`),
  );
  return [
    `${results.date}. ${results.machine}. ${results.runtime}. Medians of ${roundsOf(results)} rounds.`,
    "",
    ...[head, head.map((_, index) => (index === 0 ? "---" : "---:")), ...filled].map(
      (cells) => `| ${cells.join(" | ")} |`,
    ),
    "",
    "CPU µs are the server's, of all its processes. \\* The load generator was the bottleneck: a rate that does not count.",
    ...(cost.length > 0 ? ["", "durable-channels, counted:", "", ...cost] : []),
    ...(results.failures.length > 0 ? ["", "Failed:", "", ...results.failures.map((failure) => `- ${failure}`)] : []),
  ].join("\n");
}

/** Adds the number of rounds if it differs from the others. */
function titled(results: Results, title: string, workload: string): string {
  const rounds = roundsOf(results, workload);
  return rounds < roundsOf(results) ? `${title} (${rounds} round${rounds === 1 ? "" : "s"})` : title;
}

/** Returns the CPU time that each additional subscriber adds to a publish. */
function deliveryAlone(results: Results, peer: string): string {
  const to = (workload: string) => median(results, workload, peer, "CPU µs/publish");
  const [one, hundred] = [to("64/1"), to("64/100")];
  return one === undefined || hundred === undefined ? "" : ((hundred - one) / 99).toFixed(2);
}

function cell(results: Results, workload: string, peer: string, figure: string): string {
  const value = median(results, workload, peer, figure);
  if (value === undefined) return "";
  const isRate = figure.endsWith("/s");
  const kept = isRate && (median(results, workload, peer, "load was the bottleneck") ?? 0) > 0;
  return `${format(value, figure)}${kept ? "\\*" : ""}`;
}

function format(value: number, figure: string): string {
  if (figure.includes("p50") || figure.includes("p99")) return (value / 1000).toFixed(2);
  if (figure.startsWith("bytes")) return (value / 1000).toFixed(1);
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toFixed(2);
}
