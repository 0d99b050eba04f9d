import { add, showProblem, showState } from "./room.js";

const form = document.getElementById("form");
const me = form.dataset.user;
const seen = new Set();

function show(message) {
  // My own message comes as the answer of the view, and again through Redis if I am a receiver.
  // A stored message comes again with each connection.
  if (seen.has(message.id)) return;
  seen.add(message.id);
  const own = message.from === me;
  const to = message.audience === "user" && message.to === me ? "you" : message.to;
  add({ text: message.text, at: message.at, label: `${own ? "you" : message.from} to ${to}`, own });
}

new WS4Redis({
  facility: "userchat",
  subscribe: ["user", "group", "broadcast"],
  receive_message: (data) => show(JSON.parse(data)),
  state: showState,
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = form.elements.text;
  // One at a time: whoever presses the key twice has said it once.
  if (field.readOnly) return;
  field.readOnly = true;
  showProblem();
  try {
    const response = await fetch(form.action, { method: "POST", body: new FormData(form) });
    if (response.ok) {
      show(await response.json());
      field.value = "";
    } else {
      showProblem(await response.text());
    }
  } catch {
    showProblem("The message could not be sent.");
  }
  field.readOnly = false;
  field.focus();
});
