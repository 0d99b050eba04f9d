import type { WS4RedisChange, WS4RedisHello, WS4RedisOptions } from "./wsredis.mjs";

/** The options of `WS4Redis`, and one more. */
export interface UseWsredisOptions extends WS4RedisOptions {
  /** How many of the last messages are kept in `messages`. Default 0: none. */
  keep?: number;
}

/** `idle`: no options, or not yet begun. */
export type UseWsredisState = "idle" | WS4RedisChange[0];

/** The detail of the state; see `WS4RedisChange` for which fields each state has. */
export interface UseWsredisDetail {
  failures?: number;
  transport?: "websocket" | "sse" | "polling";
  gap?: true;
  delay?: number;
  code?: number | null;
  reason?: string;
  dropped?: number;
}

export interface UseWsredisFields {
  state: UseWsredisState;
  detail: UseWsredisDetail;
  hello: WS4RedisHello | null;
  messages: any[];
}
