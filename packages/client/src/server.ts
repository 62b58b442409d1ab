import { SUBPROTOCOL } from "../../../src/protocol/subprotocol.ts";
import { ChannelError, errorOf } from "./errors.ts";

/** A credential, or a function that returns one. The client calls it for each request and connection, because tokens expire. */
export type Token = string | (() => string | Promise<string>);

const REQUEST_TIMEOUT_MS = 20_000;

interface JsonRequest {
  method?: "POST";
  headers?: Record<string, string>;
  body?: string;
}

/** Sends requests to the server, with the client's credential. */
export class Server {
  readonly #url: string;
  readonly #token: Token | undefined;

  /** @param url The server's origin, with or without a trailing slash. */
  constructor(url: string, token: Token | undefined) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
  }

  /** Whether the client can get a new token after one has expired. */
  get renewsToken(): boolean {
    return typeof this.#token === "function";
  }

  /** Returns the URL of a socket. */
  socketUrl(path: string): string {
    return `${this.#url.replace(/^http/, "ws")}${path}`;
  }

  /** Returns the subprotocols to offer. A browser can send a credential with a WebSocket only as a subprotocol. */
  async protocols(): Promise<string[]> {
    const token = await this.#credential();
    return token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, token];
  }

  /**
   * Sends a request and returns the parsed JSON of the response.
   *
   * @throws ChannelError with the server's error code, `network` if the server did not answer within 20 seconds, or `token`
   *   if the token function failed
   */
  async request<T>(path: string, { headers, ...init }: JsonRequest = {}): Promise<T> {
    const token = await this.#credential();
    const all: RequestInit = {
      ...init,
      headers: { ...headers, ...(token !== undefined && { Authorization: `Bearer ${token}` }) },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    };
    try {
      const response = await fetch(`${this.#url}${path}`, all);
      if (!response.ok) throw await errorOf(response);
      return (await response.json()) as T;
    } catch (cause) {
      if (cause instanceof ChannelError) throw cause;
      throw new ChannelError("network", "The server did not answer.", { cause });
    }
  }

  async #credential(): Promise<string | undefined> {
    if (typeof this.#token !== "function") return this.#token;
    try {
      return await this.#token();
    } catch (cause) {
      throw new ChannelError("token", "The token function failed, so nothing was sent. See the error's cause.", {
        cause,
      });
    }
  }
}
