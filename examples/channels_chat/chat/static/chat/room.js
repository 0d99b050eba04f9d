"use strict";
const room = document.currentScript.dataset.room;
const state = document.querySelector("#state");
const field = document.querySelector("#say").elements.text;
const scheme = location.protocol === "https:" ? "wss" : "ws";
// Texts that have not come back yet. A text that is lost must not look as if it was sent.
let underway = [];
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
    if (underway.includes(said.text)) underway.splice(underway.indexOf(said.text), 1);
    show(said.gap ? "(something may be missing here)" : said.text);
  };
  socket.onclose = () => {
    state.textContent = "connecting";
    for (const text of underway) show(`(perhaps not sent: ${text})`);
    field.value ||= underway.at(-1) ?? "";
    underway = [];
    // Spread in time, or all pages come back at once after a restart.
    setTimeout(connect, 1000 + 4000 * Math.random());
  };
}

document.querySelector("#say").addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ text: field.value }));
  underway.push(field.value);
  field.value = "";
});
connect();
