import { SUBPROTOCOL } from "../../../src/protocol/subprotocol.ts";
import { Credential, type Token } from "./credential.ts";
import { ChannelError, errorOf } from "./errors.ts";

const REQUEST_TIMEOUT_MS = 20_000;

interface JsonRequest {
  method?: "POST";
  headers?: Record<string, string>;
  body?: string;
  /** Ends the request. Its error is then `network`. */
  signal?: AbortSignal;
}

/** Sends requests to the server, with the client's credential. */
export class Server {
  readonly credential: Credential;
  readonly #url: string;

  /** @param url The server's origin, with or without a trailing slash. */
  constructor(url: string, token: Token | undefined) {
    this.#url = url.replace(/\/+$/, "");
    this.credential = new Credential(token);
  }

  /** Returns the URL of a socket. */
  socketUrl(path: string): string {
    return `${this.#url.replace(/^http/, "ws")}${path}`;
  }

  /** Returns the subprotocols to offer. A browser can send a credential with a WebSocket only as a subprotocol. */
  async protocols(): Promise<string[]> {
    const token = await this.credential.get();
    return token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, token];
  }

  /**
   * Sends a request and returns the parsed JSON of the response. If the server refuses the token, repeats it with a new one.
   *
   * @throws ChannelError with the server's error code, `network` if the server did not answer within 20 seconds, or `token`
   *   if the token function failed
   */
  async request<T>(path: string, request: JsonRequest = {}): Promise<T> {
    const token = await this.credential.get();
    try {
      return await this.#attempt<T>(path, request, token);
    } catch (error) {
      if ((error as ChannelError).status !== 401 || !this.credential.isRenewable) throw error;
      const another = await this.credential.get();
      if (another !== token) return this.#attempt<T>(path, request, another);
      this.credential.refused(token);
      throw error;
    }
  }

  async #attempt<T>(path: string, { headers, signal, ...init }: JsonRequest, token: string | undefined): Promise<T> {
    const all: RequestInit = {
      ...init,
      headers: { ...headers, ...(token !== undefined && { Authorization: `Bearer ${token}` }) },
      signal: AbortSignal.any([AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...(signal ? [signal] : [])]),
    };
    try {
      const response = await fetch(`${this.#url}${path}`, all);
      if (response.status === 401) this.credential.refused(token);
      if (!response.ok) throw await errorOf(response);
      return (await response.json()) as T;
    } catch (cause) {
      if (cause instanceof ChannelError) throw cause;
      throw new ChannelError("network", "The server did not answer.", { cause });
    }
  }
}
