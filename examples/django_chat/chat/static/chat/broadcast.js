import { LOGGED_OUT, add, showState } from "./room.js";

const form = document.getElementById("form");
const input = document.getElementById("text");
let last = null;
let isFirst = false;
let socket;

function connect() {
  socket = new WS4Redis({
    facility: "chat",
    subscribe: "broadcast",
    publish: "broadcast",
    echo: true,
    connected: () => { isFirst = true; },
    receive_message: receive,
    state: (name, detail) => {
      showState(name, detail);
      // This chat needs no login: go on without one. If the browser still has the cookie of the
      // old session, the gateway refuses, and WS4Redis tries again.
      if (name === "stopped" && detail.code === LOGGED_OUT) connect();
    },
  });
}

function receive(data) {
  const text = typeof data === "string" ? data : `${data.size} bytes that are not text`;
  // A connection begins with the stored message. After a pause the list may contain it already.
  const isRepeated = isFirst && text === last;
  isFirst = false;
  last = text;
  if (!isRepeated) add({ text });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send_message(input.value);
  form.reset();
  input.focus();
});

connect();
