/** A message that was seen somewhere. In these tests each message is a different text. */
export interface Sighting {
  seq: number;
  message: string;
}

/** Returns the archive's rows as sightings. */
export function sightingsIn(rows: readonly { seq: number; payload: string }[]): Sighting[] {
  return rows.map(({ seq, payload }) => ({ seq, message: String(JSON.parse(payload)) }));
}

/** Reads a channel's whole history, page by page. Returns it as sightings. */
export async function everything(channel: string, read: (path: string) => Promise<HistoryPage>): Promise<Sighting[]> {
  const sightings: Sighting[] = [];
  let next: string | null = `/channels/${encodeURIComponent(channel)}/messages?after=0&limit=1000`;
  while (next !== null) {
    const page: HistoryPage = await read(next);
    sightings.push(...page.messages.map(({ options, payload }) => ({ seq: options.seq, message: String(payload) })));
    next = page.next;
  }
  return sightings;
}

export interface HistoryPage {
  messages: { options: { seq: number }; payload: unknown }[];
  next: string | null;
}

/**
 * Compares what publishers and subscribers received with what is stored, after any faults.
 *
 * - Every acknowledged message is in history exactly once, at its `seq`.
 * - `seq` has no gap and no repeat.
 * - Every subscriber received consecutive messages, the same as in the history, unless a gap was reported to it.
 * - Once the backlog is empty, the archive equals the history.
 */
export class Checker {
  readonly #acknowledged: Sighting[] = [];
  readonly #runs: Sighting[][] = [];

  /** Records that a publisher received its `201`. */
  acknowledge(seq: number, message: string): void {
    this.#acknowledged.push({ seq, message });
  }

  /** How many messages were acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged.length;
  }

  /** Returns a record of the messages that a subscriber receives. */
  subscriber(): { saw: (sighting: Sighting) => void; gap: () => void; seen: () => readonly Sighting[] } {
    let run: Sighting[] = [];
    const all: Sighting[] = [];
    this.#runs.push(run);
    return {
      saw: (sighting) => {
        run.push(sighting);
        all.push(sighting);
      },
      gap: () => {
        run = [];
        this.#runs.push(run);
      },
      seen: () => all,
    };
  }

  /** Returns a description of each violated guarantee, or an empty array. */
  faults(history: readonly Sighting[], archive: readonly Sighting[]): string[] {
    return [
      ...history.flatMap(({ seq }, index) =>
        seq === index + 1 ? [] : [`history has seq ${seq} as number ${index + 1}`],
      ),
      ...doubled(history).map((message) => `history has ${message} twice`),
      ...this.#acknowledged.flatMap((sighting) => misplaced(sighting, history, "acknowledged")),
      ...this.#runs.flatMap((run) => run.flatMap((sighting) => misplaced(sighting, history, "delivered"))),
      ...this.#runs.flatMap((run) => breaks(run)),
      ...(JSON.stringify(archive) === JSON.stringify(history) ? [] : ["the archive differs from history"]),
    ];
  }
}

function doubled(history: readonly Sighting[]): string[] {
  const seen = new Set<string>();
  return history.flatMap(({ message }) => (seen.size === seen.add(message).size ? [message] : []));
}

function misplaced({ seq, message }: Sighting, history: readonly Sighting[], how: string): string[] {
  const kept = history[seq - 1]?.message;
  return kept === message ? [] : [`${message} was ${how} as ${seq}, where history has ${kept}`];
}

function breaks(run: readonly Sighting[]): string[] {
  return run.flatMap(({ seq }, index) => {
    const before = run[index - 1]?.seq;
    return before === undefined || seq === before + 1 ? [] : [`a subscriber saw ${seq} behind ${before}`];
  });
}
