import type { MaybeRefOrGetter, ShallowRef } from "vue";
import type { WS4RedisMessage } from "./wsredis.mjs";
import type { UseWsredisFields, UseWsredisOptions } from "./following.mjs";

export type { UseWsredisDetail, UseWsredisOptions, UseWsredisState } from "./following.mjs";

export type UseWsredis = {
  [Name in keyof UseWsredisFields]: Readonly<ShallowRef<UseWsredisFields[Name]>>;
} & {
  /**
   * Sends, or keeps for the next connection.
   * @throws Error as `send_message`, and before the component is mounted or without options.
   */
  send: (message: WS4RedisMessage) => void;
};

/**
 * A connection that lives as long as the component, or the scope. Options that change make a new
 * one; callbacks that change do not. Without options there is none.
 */
export function useWsredis(
  options: MaybeRefOrGetter<UseWsredisOptions | null | undefined | false>,
): UseWsredis;
