/// <reference path="./wsredis.d.ts" />
// One name for the class and for what it makes; the others are types only.
type Made = WS4Redis;
declare const Made: WS4RedisConstructor;
type Audience = WS4RedisAudience;
type Change = WS4RedisChange;
type Hello = WS4RedisHello;
type Message = WS4RedisMessage;
type Options = WS4RedisOptions;
type Transport = WS4RedisTransport;
export { Made as WS4Redis };
export type {
  Audience as WS4RedisAudience,
  Change as WS4RedisChange,
  Hello as WS4RedisHello,
  Message as WS4RedisMessage,
  Options as WS4RedisOptions,
  Transport as WS4RedisTransport,
};
