/** Declarations of wsredis.js as a classic script: `WS4Redis` is global. */

type WS4RedisAudience = "broadcast" | "group" | "user" | "session";

/** What the gateway says first, and again when the rights of the page change. */
interface WS4RedisHello {
  /** The id of the connection, as in the log of the gateway. */
  id: string;
  /** Seconds between two signs of life of the gateway. null: a page that polls gets none. */
  heartbeat: number | null;
  /** What was granted, and has a channel. */
  subscribe: WS4RedisAudience[];
  publish: WS4RedisAudience[];
  /** The name of the user, if an audience was asked for that needs one. */
  user: string | null;
  /** Sentences about mistakes in what the page asked for. They are in the console, too. */
  hints: string[];
}

type WS4RedisTransport = "websocket" | "sse" | "polling";

/** Times are milliseconds. */
interface WS4RedisOptions {
  /** The whole URL, also relative to the page. Absent: it is made of the next four. */
  uri?: string;
  /** The topic; slashes are kept. */
  facility?: string;
  subscribe?: WS4RedisAudience | WS4RedisAudience[];
  publish?: WS4RedisAudience | WS4RedisAudience[];
  /** Hear oneself. */
  echo?: boolean;
  /** The heartbeat of the gateway. Absent: the one of the page's configuration. null: none. */
  heartbeat_msg?: string | null;
  /** Default 5000. After the fourth without an answer the connection is given up. */
  heartbeat_interval?: number;
  /** What messages that are not text arrive as. Default "blob". */
  binary_type?: BinaryType;
  /**
   * Subprotocols. Default "wsredis"; where a server chooses none, the script goes on without it.
   * []: none.
   */
  protocols?: string | string[];
  /** What may be used, by default all three: one after the other, where the one before does not pass. */
  transports?: WS4RedisTransport | WS4RedisTransport[];
  /** The time between two trials of a WebSocket while another transport is in use. Default 300000. */
  retry_websocket?: number;
  /** Called before each connection. Its result, unless empty, is offered as `bearer.TOKEN`. */
  token?: () => string | null | undefined | Promise<string | null | undefined>;
  /** How many messages may wait while there is no connection. Default 100. */
  max_queued?: number;
  /** The first wait is at most so long, and each further one at most twice that. Default 1000. */
  base_delay?: number;
  /** No wait is longer. Default 30000. */
  max_delay?: number;
  /** Added to the wait after close code 1013. Default 5000. */
  busy_delay?: number;
  /** A connection that lived so long makes the next wait a first one. Default 5000. */
  stable_after?: number;
  /** How long token and handshake may take together. Default 20000. */
  connect_timeout?: number;
  connecting?: () => void;
  connected?: () => void;
  disconnected?: (event: CloseEvent) => void;
  /** Called before `connected`, by a gateway that knows the subprotocol "wsredis". */
  hello?: (hello: WS4RedisHello) => void;
  receive_message?: (data: any) => void;
  /**
   * Called after a connection has ended, with messages that may not have arrived: the last ones,
   * at most `max_queued`, and after the end those that waited. After the end nothing can be sent.
   */
  unsent?: (messages: WS4RedisMessage[], is_over: boolean) => void;
  state?: (...change: WS4RedisChange) => void;
}

type WS4RedisMessage = string | BufferSource | Blob;

type WS4RedisChange =
  | [name: "connecting", detail: { failures: number }]
  /** `gap`: messages were lost before this moment. Only the last two transports know. */
  | [name: "connected", detail: { transport: WS4RedisTransport; gap?: true }]
  | [name: "waiting", detail: { delay: number; code: number; reason: string }]
  /** `code` is null after `close()`, and where the browser refuses to try. */
  | [name: "stopped", detail: { code: number | null; reason: string; dropped: number }];

interface WS4Redis {
  /**
   * Sends, or keeps for the next connection.
   * @throws Error where `max_queued` messages wait already, and after the end.
   */
  send_message(message: WS4RedisMessage): void;
  /** Ends the connection for good. What waits is dropped. */
  close(): void;
  /** As `WebSocket.readyState`; 3 between two connections. */
  get_state(): number;
  is_connecting(): boolean;
  is_connected(): boolean;
  is_closing(): boolean;
  is_closed(): boolean;
}

interface WS4RedisConstructor {
  /** @throws Error where the URL cannot be made, or the browser refuses it. */
  new (options: WS4RedisOptions, ignored?: unknown): WS4Redis;
  (options: WS4RedisOptions, ignored?: unknown): WS4Redis;
  /** The JSON in the element with this id, "wsredis-config" by default. null: there is none. */
  config(id?: string): { uri?: string; heartbeat?: string | null } | null;
}

declare var WS4Redis: WS4RedisConstructor;
