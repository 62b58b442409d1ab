import type { ChannelSettings } from "../../protocol/channel-settings.ts";

/** What is told of a request that was refused (RFC 9457), or that got no answer. */
export interface Problem {
  /** Of the answer; 0 where there was none. */
  status: number;
  detail: string;
  /** Dotted path of the field that is wrong. */
  field?: string;
}

/** A request that was refused, or that got no answer. */
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

/** The server's HTTP interface, as the server side. Every method throws a ProblemError. */
export class Api {
  readonly #key: string;
  readonly #rejected: () => void;

  /** @param rejected Called where the server does not take the key, or no longer does. */
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
    if (answer === null) throw new ProblemError({ status: 0, detail: "The server does not answer." });
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

/** What is to be told of an error, whatever it is. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { status: 0, detail: error instanceof Error ? error.message : "Something failed." };
}

/** The path of a channel, or of a resource of it. */
export function pathOf(channel: string, resource = ""): string {
  return `/channels/${encodeURIComponent(channel)}${resource}`;
}
