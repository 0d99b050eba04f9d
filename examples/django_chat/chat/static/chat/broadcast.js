import { add, showState } from "./room.js";

const form = document.getElementById("form");
const input = document.getElementById("text");
let last = null;
let isFirst = false;

const socket = new WS4Redis({
  facility: "chat",
  subscribe: "broadcast",
  publish: "broadcast",
  echo: true,
  connected: () => { isFirst = true; },
  receive_message: (data) => {
    const text = typeof data === "string" ? data : `${data.size} bytes that are no text`;
    // A connection begins with the message that is kept. After a pause it may be here already.
    const isRepeated = isFirst && text === last;
    isFirst = false;
    last = text;
    if (!isRepeated) add({ text });
  },
  state: showState,
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send_message(input.value);
  form.reset();
  input.focus();
});
