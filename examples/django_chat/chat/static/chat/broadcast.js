import { LOGGED_OUT, add, showProblem, showState } from "./room.js";

const form = document.getElementById("form");
const input = document.getElementById("text");
let last = null;
let isFirst = false;
// Texts that have not come back yet. A text that is lost must not look as if it was sent.
let underway = [];
let socket;

function connect() {
  socket = new WS4Redis({
    facility: "chat",
    subscribe: "broadcast",
    publish: "broadcast",
    echo: true,
    connected: () => { isFirst = true; },
    receive_message: receive,
    disconnected: giveBack,
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
  if (underway.includes(text)) underway.splice(underway.indexOf(text), 1);
  if (!isRepeated) add({ text });
}

function giveBack() {
  if (!underway.length) return;
  showProblem(`Perhaps not sent: ${underway.join(" / ")}`);
  input.value ||= underway.at(-1);
  underway = [];
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  showProblem();
  try {
    socket.send_message(input.value);
    underway.push(input.value);
    form.reset();
  } catch (error) {
    showProblem(error.message);
  }
  input.focus();
});

connect();
