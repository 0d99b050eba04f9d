// Never run: TypeScript checks that these names and shapes are declared.
import {
  WS4Redis,
  type WS4RedisAudience,
  type WS4RedisChange,
  type WS4RedisHello,
  type WS4RedisMessage,
  type WS4RedisOptions,
  type WS4RedisTransport,
} from "wsredis";
import { useWsredis as in_react, type UseWsredis, type UseWsredisOptions } from "wsredis/react";
import { useWsredis as in_vue, type UseWsredisState } from "wsredis/vue";

const audience: WS4RedisAudience = "user";
const transport: WS4RedisTransport = "sse";
const options: WS4RedisOptions = {
  facility: "chat",
  subscribe: audience,
  transports: transport,
  hello: (hello: WS4RedisHello) => console.log(hello.subscribe.includes("user"), hello.user),
  unsent: (messages: WS4RedisMessage[]) => messages.forEach((each) => socket.send_message(each)),
  state: (...[name, detail]: WS4RedisChange) => {
    // @ts-expect-error: which fields there are depends on the state.
    detail.code;
    if (name === "stopped") console.log(detail.code, detail.dropped);
    if (name === "connected") console.log(detail.transport);
  },
};
const socket: WS4Redis = new WS4Redis(options);
socket.close();
console.log(WS4Redis.config()?.uri);

// @ts-expect-error: there is no such audience.
new WS4Redis({ facility: "chat", subscribe: "everybody" });

const more: UseWsredisOptions = { ...options, keep: 10 };
const used: UseWsredis = in_react(more);
used.send(new Uint8Array(2));
in_react(null);
const state: UseWsredisState = in_vue(() => more).state.value;
console.log(state, in_vue(more).hello.value?.id);

// The classic script has the same names, without an import.
const again: WS4RedisOptions = { uri: "/ws/" };
export default again;
