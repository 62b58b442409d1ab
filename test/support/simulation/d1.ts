import { env } from "cloudflare:workers";
import type { Blocks, Caller } from "./blocks.ts";
import { type Clock, until } from "./clock.ts";

/** How long a statement hangs until its connection is lost, in milliseconds. */
export const HANG_MS = 60_000;

/** The largest text that D1 takes as a parameter. The D1 of the tests takes more. */
const MAX_TEXT_BYTES = 2_000_000;

/** What goes wrong with D1. */
export interface D1Fault {
  /**
   * `fail`: nothing is done, and an error is thrown. `slow`: it is done, and answered late. `hang`: nothing is done, and
   * nothing is answered for a long time. `lost`: it is done, and an error is thrown. `lost-hang`: it is done, and nothing is
   * answered for a long time.
   */
  kind: "fail" | "slow" | "hang" | "lost" | "lost-hang";
  /** Which statements it concerns. */
  scope: "all" | "writes";
  /** How long a slow answer takes. */
  ms: number;
}

const METHODS = ["run", "all", "raw", "first"] as const;
type Method = (this: Statement, ...args: unknown[]) => Promise<unknown>;
type Statement = { statement: string; params: unknown[] } & Record<(typeof METHODS)[number], Method>;

interface Database {
  batch: (this: Database, batched: Statement[]) => Promise<unknown>;
}

/** Passes each statement of the code under test to the real D1, and injects faults. */
export class D1Gate {
  readonly #clock: Clock;
  readonly #blocks: Blocks;
  readonly #prototype = Object.getPrototypeOf(env.DB.prepare("SELECT 1")) as Statement;
  readonly #originals = METHODS.map((method) => [method, this.#prototype[method]] as const);
  readonly #database = Object.getPrototypeOf(env.DB) as Database;
  readonly #batch = this.#database.batch;
  #over = false;
  fault: D1Fault | undefined;
  /** The statements that are with the real D1 just now, and who waits for their answers. */
  readonly #underWay = new Set<{ caller: Caller | undefined }>();
  /** When answers that are late are due, by `elapsed`. */
  readonly #late = new Set<{ due: number }>();
  /** Grows with each statement that starts or ends. */
  activity = 0;

  constructor(clock: Clock, blocks: Blocks) {
    this.#clock = clock;
    this.#blocks = blocks;
  }

  /** Whether an answer of the real D1 will arrive without that time passes. */
  get isBusy(): boolean {
    return this.#underWay.values().some(({ caller }) => !this.#blocks.withholds(caller));
  }

  /** Forgets the statements of an object that ends. Nobody receives their answers. */
  forget(channel: string): void {
    for (const statement of this.#underWay) if (statement.caller?.channel === channel) this.#underWay.delete(statement);
  }

  /** Whether answers are late. An object that waits for one stays awake. */
  get isLate(): boolean {
    return this.#late.size > 0;
  }

  /** Whether a late answer is due and has not arrived yet. */
  get isAnswering(): boolean {
    return this.nextAnswer <= this.#clock.elapsed;
  }

  /** Drops the answers that are due. Used when the contexts that waited for them have ended. */
  dropDue(): void {
    for (const answer of this.#late) if (answer.due <= this.#clock.elapsed) this.#late.delete(answer);
  }

  /** When the next answer that is late is due, by `elapsed`; Infinity if there is none. */
  get nextAnswer(): number {
    return Math.min(Infinity, ...this.#late.values().map(({ due }) => due));
  }

  /** When the last answer that is late is due, by `elapsed`; -Infinity if there is none. */
  get lastAnswer(): number {
    return Math.max(-Infinity, ...this.#late.values().map(({ due }) => due));
  }

  /** When the next answer is due that is late and not due already; Infinity if there is none. */
  get laterAnswer(): number {
    const due = this.#late.values().map((answer) => answer.due);
    return Math.min(Infinity, ...due.filter((time) => time > this.#clock.elapsed));
  }

  install(): void {
    for (const [method, original] of this.#originals) {
      const pass = (statement: Statement, args: unknown[]) =>
        this.#pass(statement, () => original.apply(statement, args));
      this.#prototype[method] = function (...args) {
        return pass(this, args);
      };
    }
    const passBatch = (database: Database, batched: Statement[]) => {
      const [statement, params] = [batched.map((each) => each.statement), batched.flatMap((each) => each.params)];
      return this.#pass({ statement: statement.join(";"), params }, () => this.#batch.call(database, batched));
    };
    this.#database.batch = function (batched) {
      return passBatch(this, batched);
    };
  }

  /** Lets every statement through, and fails those that still hang. */
  uninstall(): void {
    this.#over = true;
    for (const [method, original] of this.#originals) this.#prototype[method] = original;
    this.#database.batch = this.#batch;
  }

  /** Queries the real D1, without the injected faults. */
  async ask<T>(sql: string, ...params: unknown[]): Promise<T[]> {
    const statement = env.DB.prepare(sql).bind(...params) as unknown as Statement;
    const [, all] = this.#originals.find(([method]) => method === "all") ?? [];
    if (!all) throw new Error("D1 statements have no method `all`.");
    const { results } = (await all.call(statement)) as { results: T[] };
    return results;
  }

  async #pass(
    { statement, params }: Pick<Statement, "statement" | "params">,
    perform: () => Promise<unknown>,
  ): Promise<unknown> {
    const { fault } = this;
    if (params.some(isTooLarge)) throw new Error("D1_ERROR: string or blob too big: SQLITE_TOOBIG");
    if (!fault || (fault.scope === "writes" && /^\s*select/i.test(statement))) return this.#perform(perform);
    switch (fault.kind) {
      case "fail":
        throw new Error("D1_ERROR: simulated failure");
      case "slow": {
        const answer = await this.#perform(perform);
        await this.#answerLate(fault.ms);
        return answer;
      }
      case "hang":
        return this.#hang();
      case "lost":
        await this.#perform(perform);
        throw new Error("D1_ERROR: simulated loss of the answer");
      case "lost-hang":
        await this.#perform(perform);
        return this.#hang();
    }
  }

  async #perform(perform: () => Promise<unknown>): Promise<unknown> {
    const statement = { caller: this.#blocks.caller };
    this.activity += 1;
    this.#underWay.add(statement);
    try {
      return await perform();
    } finally {
      this.#underWay.delete(statement);
      this.activity += 1;
    }
  }

  async #answerLate(ms: number): Promise<void> {
    const answer = { due: this.#clock.elapsed + ms };
    this.#late.add(answer);
    await until(() => this.#over || this.#clock.elapsed >= answer.due);
    this.#late.delete(answer);
    this.activity += 1;
  }

  async #hang(): Promise<never> {
    await this.#answerLate(HANG_MS);
    throw new Error("D1_ERROR: simulated loss of the connection");
  }
}

const encoder = new TextEncoder();

function isTooLarge(param: unknown): boolean {
  return (
    typeof param === "string" && param.length * 3 > MAX_TEXT_BYTES && encoder.encode(param).length > MAX_TEXT_BYTES
  );
}
