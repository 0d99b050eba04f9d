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
      // Here nobody needs to be logged in: go on as a stranger. Where the cookie of the session is
      // still there, the gateway refuses, and WS4Redis tries again.
      if (name === "stopped" && detail.code === LOGGED_OUT) connect();
    },
  });
}

function receive(data) {
  const text = typeof data === "string" ? data : `${data.size} bytes that are no text`;
  // A connection begins with the message that is kept. After a pause it may be here already.
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
