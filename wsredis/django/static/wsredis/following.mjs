// What the bindings for React and Vue share: a connection that follows options which may change.
import { WS4Redis } from "./wsredis.mjs";

/** What is there before anything is connected, and without options. */
export const NOTHING = { state: "idle", detail: {}, hello: null, messages: [] };

/** Tells connections apart. Of functions the latest ones are called, so they make no other one. */
export function key_of(options) {
  const plain = (name, value) => (typeof value === "function" ? true : name === "keep" ? undefined : value);
  return options ? JSON.stringify(options, plain) : "";
}

/**
 * Connect in a moment, so that a component that comes, goes and comes at once opens one connection.
 *
 * @param latest Returns the options as they are now.
 * @param update Called with the fields that have changed.
 * @returns Functions to send, and to end it for good.
 */
export function follow(latest, update) {
  const early = [];
  let socket = null;
  let is_over = false;
  let messages = [];

  const call = (name) => (...all) => (latest() || {})[name]?.(...all);

  function start() {
    if (is_over) return;
    const { keep, ...options } = latest();
    for (const name in options) if (typeof options[name] === "function") options[name] = call(name);
    const watched = (name, change) => {
      options[name] = (...all) => {
        if (is_over) return;
        change(...all);
        call(name)(...all);
      };
    };
    watched("state", (state, detail) => update({ state, detail }));
    watched("hello", (hello) => update({ hello }));
    watched("receive_message", (message) => {
      const most = (latest() || {}).keep;
      if (most > 0) update({ messages: messages = [...messages, message].slice(-most) });
    });
    try {
      socket = new WS4Redis(options);
      for (const each of early.splice(0)) socket.send_message(each);
    } catch (error) {
      const detail = { code: null, reason: error.message, dropped: early.length };
      update({ state: "stopped", detail });
    }
  }

  queueMicrotask(start);
  return {
    send(message) {
      if (socket) socket.send_message(message);
      else early.push(message);
    },
    close() {
      is_over = true;
      if (socket) socket.close();
    },
  };
}
