interface NetworkHandlers {
  /** The browser says that it has no network. It may be wrong. */
  lost: () => void;
  /** The network has changed, or the page is shown again: what was known of a connection may no longer be true. */
  changed: () => void;
}

/** What the client uses of a browser. Other runtimes lack some of it, which TypeScript's own types don't say. */
interface Runtime extends Partial<EventSource> {
  document?: EventSource & { visibilityState: string };
}

interface EventSource {
  addEventListener: (type: string, handler: () => void, options: { signal: AbortSignal }) => void;
}

/** Reports what a browser says of its network. Other runtimes, Node for one, report nothing. Returns a function that ends it. */
export function watchNetwork({ lost, changed }: NetworkHandlers): () => void {
  const runtime = globalThis as unknown as Runtime;
  const { document } = runtime;
  const ended = new AbortController();
  const { signal } = ended;
  runtime.addEventListener?.("offline", lost, { signal });
  runtime.addEventListener?.("online", changed, { signal });
  const shown = () => document?.visibilityState === "visible" && changed();
  document?.addEventListener("visibilitychange", shown, { signal });
  return () => ended.abort();
}
