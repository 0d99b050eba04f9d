"use strict";
const room = document.currentScript.dataset.room;
const state = document.querySelector("#state");
const scheme = location.protocol === "https:" ? "wss" : "ws";
let socket;

function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  document.querySelector("#talk").append(line);
}

function connect() {
  socket = new WebSocket(`${scheme}://${location.host}/rooms/${room}/`);
  socket.onopen = () => (state.textContent = "connected");
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data);
    show(said.gap ? "(something may be missing here)" : said.text);
  };
  socket.onclose = () => {
    state.textContent = "connecting";
    // Spread in time, or all pages come back at once after a restart.
    setTimeout(connect, 1000 + 4000 * Math.random());
  };
}

document.querySelector("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.elements.text;
  if (socket.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ text: input.value }));
    input.value = "";
  }
});
connect();
