/// <reference path="./wsredis.d.ts" />
declare const exported: WS4RedisConstructor;
export { exported as WS4Redis };
