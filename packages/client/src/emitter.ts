/** Calls the handlers of a kind with each value of that kind. */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<unknown>>();

  /** Returns a function that removes the handler. */
  on<K extends keyof Events>(kind: K, handler: (value: Events[K]) => void): () => void {
    const handlers = this.#handlers.get(kind) ?? new Set();
    this.#handlers.set(kind, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /** If a handler throws, the error is reported as uncaught, and the other handlers are still called. */
  emit<K extends keyof Events>(kind: K, value: Events[K]): void {
    for (const handler of this.#handlers.get(kind) ?? []) {
      try {
        (handler as (value: Events[K]) => void)(value);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
