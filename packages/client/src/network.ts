interface NetworkHandlers {
  /** Called when the browser reports that it has no network. The browser may be wrong. */
  lost: () => void;
  /** Called when the network has changed or the page is visible again. A connection may no longer work then. */
  changed: () => void;
}

/** The browser APIs that the client uses. All are optional, because other runtimes lack some of them. */
interface Runtime extends Partial<EventSource> {
  document?: EventSource & { visibilityState: string };
}

interface EventSource {
  addEventListener: (type: string, handler: () => void, options: { signal: AbortSignal }) => void;
}

/** Reports changes of the browser's network. Other runtimes, such as Node, report nothing. Returns a function that ends the reports. */
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
