// Shared by both chats: the list of messages, and the state of the connection.

const LONGEST = 500;
// A close code of the gateway.
export const LOGGED_OUT = 4401;

const box = document.getElementById("messages");
const list = box.querySelector("ol");
const send = document.getElementById("send");
const state = document.getElementById("state");
const problem = document.getElementById("problem");

function words(name, detail) {
  if (name === "waiting") return `not connected, next try in ${Math.ceil(detail.delay / 1000)} s`;
  if (name !== "stopped") return name;
  return detail.code === LOGGED_OUT ? "you are logged out" : `ended: ${detail.reason}`;
}

/** Callback for WS4Redis: show the state of the connection. */
export function showState(name, detail) {
  state.dataset.state = name;
  state.textContent = words(name, detail);
  send.disabled = name !== "connected";
  const again = document.getElementById("again");
  if (again) again.hidden = name !== "stopped";
}

/** Show an error, or remove it if *text* is empty. */
export function showProblem(text = "") {
  problem.textContent = text;
}

/** Add a message to the list, in the order of time. It is shown as text, never as HTML. */
export function add({ text, at = Date.now(), label = "", own = false }) {
  const isAtEnd = box.scrollTop + box.clientHeight >= box.scrollHeight - 40;
  const item = document.createElement("li");
  const about = document.createElement("small");
  const time = document.createElement("time");
  const body = document.createElement("p");
  item.dataset.at = at;
  item.classList.toggle("own", own);
  time.dateTime = new Date(at).toISOString();
  time.textContent = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  about.append(label, label && " · ", time);
  body.textContent = text;
  item.append(about, body);
  const later = [...list.children].find((each) => Number(each.dataset.at) > at);
  list.insertBefore(item, later ?? null);
  while (list.children.length > LONGEST) list.firstElementChild.remove();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}
