import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "../../../src/index.ts";

/** An object that runs some code. */
export interface Caller {
  /** The object's channel. */
  channel: string;
  /** The block that the code is inside of, if any. */
  block: Block | undefined;
}

/** One call of `blockConcurrencyWhile` that has not ended yet. */
interface Block {
  readonly channel: string;
}

type Method = (this: Channel, ...args: unknown[]) => unknown;
type BlockConcurrencyWhile = <T>(this: DurableObjectState, callback: () => Promise<T>) => Promise<T>;

/**
 * Knows which objects are blocked (`blockConcurrencyWhile`). A blocked object receives nothing but the answers to requests
 * that began inside the block. Any other answer arrives only after the block has ended.
 */
export class Blocks {
  readonly #context = new AsyncLocalStorage<Caller>();
  readonly #active = new Set<Block>();
  #uninstall = () => {};

  /** @param state The prototype of the states that all channel objects have. */
  install(state: { blockConcurrencyWhile: BlockConcurrencyWhile }): void {
    const { blockConcurrencyWhile } = state;
    const run = <T>(block: Block, work: () => T) => this.#context.run({ channel: block.channel, block }, work);
    const active = this.#active;
    state.blockConcurrencyWhile = async function <T>(this: DurableObjectState, callback: () => Promise<T>): Promise<T> {
      const block = { channel: this.id.name ?? "" };
      active.add(block);
      try {
        return (await blockConcurrencyWhile.call(this, () => run(block, callback))) as T;
      } finally {
        active.delete(block);
      }
    };
    const restoreMethods = this.#installMethods();
    this.#uninstall = () => {
      Object.assign(state, { blockConcurrencyWhile });
      restoreMethods();
    };
  }

  uninstall(): void {
    this.#uninstall();
  }

  /** Whether an object is blocked. */
  get isAny(): boolean {
    return this.#active.size > 0;
  }

  has(channel: string): boolean {
    return this.#of(channel).length > 0;
  }

  /** Forgets the blocks of an object that ends. */
  forget(channel: string): void {
    for (const block of this.#of(channel)) this.#active.delete(block);
  }

  /** Returns which object runs the code that calls this; undefined if it is the Worker, or the simulation. */
  get caller(): Caller | undefined {
    return this.#context.getStore();
  }

  /** Whether an answer to a request of this caller does not arrive just now. */
  withholds(caller: Caller | undefined): boolean {
    return caller !== undefined && this.#of(caller.channel).some((block) => block !== caller.block);
  }

  #of(channel: string): Block[] {
    return [...this.#active].filter((block) => block.channel === channel);
  }

  /** Makes known which object runs some code. */
  #installMethods(): () => void {
    const context = this.#context;
    const methods = Channel.prototype as unknown as Record<string, Method>;
    const originals: Record<string, Method> = {};
    for (const name of Object.getOwnPropertyNames(methods)) {
      const original = methods[name];
      if (!original || name === "constructor") continue;
      originals[name] = original;
      methods[name] = function (...args) {
        const channel = (this as unknown as { ctx: DurableObjectState }).ctx.id.name ?? "";
        return context.run({ channel, block: undefined }, () => original.apply(this, args));
      };
    }
    return () => Object.assign(methods, originals);
  }
}
