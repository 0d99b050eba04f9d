import type { WS4RedisMessage } from "./wsredis.mjs";
import type { UseWsredisFields, UseWsredisOptions } from "./following.mjs";

export type { UseWsredisDetail, UseWsredisOptions, UseWsredisState } from "./following.mjs";

export interface UseWsredis extends UseWsredisFields {
  /**
   * Sends, or keeps for the next connection. It is the same function in each rendering.
   * @throws Error as `send_message`, and where there are no options.
   */
  send: (message: WS4RedisMessage) => void;
}

/**
 * A connection that lives as long as the component. Options that change make a new one; callbacks
 * that change do not. Without options there is none.
 */
export function useWsredis(options: UseWsredisOptions | null | undefined | false): UseWsredis;
