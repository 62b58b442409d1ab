import type { ChannelSettings } from "../../protocol/channel-settings.ts";

/** Why a request failed: the server refused it (RFC 9457) or did not answer. */
export interface Problem {
  /** The HTTP status. 0 if there was no answer. */
  status: number;
  detail: string;
  /** The dotted path of the wrong field. */
  field?: string;
}

/** The error of a request that the server refused or did not answer. */
export class ProblemError extends Error {
  override name = "ProblemError";
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export interface NamedSettings {
  channel: string;
  settings: ChannelSettings;
}

/** Calls the server's HTTP interface as an API-key client. Every method throws a ProblemError if the request fails. */
export class Api {
  readonly #key: string;
  readonly #rejected: () => void;

  /** @param rejected Called when the server does not accept the key, or no longer accepts it. */
  constructor(key: string, rejected: () => void) {
    this.#key = key;
    this.#rejected = rejected;
  }

  get<T>(path: string): Promise<T> {
    return this.#request<T>("GET", path);
  }

  put<T>(path: string, body: object): Promise<T> {
    return this.#request<T>("PUT", path, JSON.stringify(body));
  }

  delete(path: string): Promise<void> {
    return this.#request("DELETE", path);
  }

  /** @param body JSON text. */
  post<T>(path: string, body: string, headers: Record<string, string> = {}): Promise<T> {
    return this.#request<T>("POST", path, body, headers);
  }

  async #request<T>(method: string, path: string, body?: string, more: Record<string, string> = {}): Promise<T> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#key}`, ...more };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const answer = await fetch(path, { method, headers, body: body ?? null }).catch(() => null);
    if (answer === null)
      throw new ProblemError({ status: 0, detail: "The server did not answer. Check your connection and try again." });
    if (answer.status === 401) this.#rejected();
    if (!answer.ok) throw new ProblemError(await problemIn(answer));
    return (answer.status === 204 ? undefined : await answer.json()) as T;
  }
}

async function problemIn(answer: Response): Promise<Problem> {
  const otherwise = { status: answer.status, detail: `The server answered ${answer.status}.` };
  return answer.json().then(
    (problem) => ({ ...otherwise, ...(problem as Partial<Problem>) }),
    () => otherwise,
  );
}

/** Returns any error as a Problem to show. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { status: 0, detail: error instanceof Error ? error.message : "Something failed." };
}

/** Returns the path of a channel, or of one of its resources. */
export function pathOf(channel: string, resource = ""): string {
  return `/channels/${encodeURIComponent(channel)}${resource}`;
}
