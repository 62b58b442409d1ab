/** Hands values to the handlers of their kind. */
export class Emitter<Events> {
  readonly #handlers = new Map<keyof Events, Set<unknown>>();

  /** Answers how to take the handler away again. */
  on<K extends keyof Events>(kind: K, handler: (value: Events[K]) => void): () => void {
    const handlers = this.#handlers.get(kind) ?? new Set();
    this.#handlers.set(kind, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  /** A handler that throws is reported as uncaught, and keeps nobody else from its turn. */
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
