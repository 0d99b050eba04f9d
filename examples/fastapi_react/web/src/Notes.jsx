import { useState } from "react";
import { useWsredis } from "wsredis/react";

import { ask } from "./ask.js";

const LOGGED_OUT = 4401;
const USERS = ["john", "mary", "paul"];

export function Notes({ user, onLeave }) {
  const [notes, setNotes] = useState([]);
  const [problem, setProblem] = useState("");
  const [isWelcome, setWelcome] = useState(true);

  const { state } = useWsredis(isWelcome && {
    facility: "notes",
    subscribe: ["broadcast", "user"],
    // A fresh token for each connection.
    token: async () => (await ask("token")).token,
    receive_message: (data) => add(JSON.parse(data)),
    state: (name, { code }) => {
      if (name === "stopped" && code === LOGGED_OUT) knockAgain();
    },
  });

  // The token has expired, or the session has ended: the application knows which.
  async function knockAgain() {
    setWelcome(false);
    await new Promise((go) => setTimeout(go, 1000));
    await onLeave();
    setWelcome(true);
  }

  // A stored note comes again with each connection.
  function add(note) {
    setNotes((all) => (all.some(({ id }) => id === note.id) ? all : [...all, note]));
  }

  async function attempt(path, body) {
    setProblem("");
    try {
      await ask(path, body);
      return true;
    } catch (error) {
      setProblem(error.message);
      return false;
    }
  }

  async function write(event) {
    event.preventDefault();
    const form = event.target;
    const isWritten = await attempt("notes", Object.fromEntries(new FormData(form)));
    if (isWritten) form.elements.text.value = "";
  }

  return (
    <>
      <p id="state" role="status">{user}: {state}</p>
      <form id="write" onSubmit={write}>
        <label>To{" "}
          <select name="to">
            <option value="">everybody</option>
            {USERS.map((name) => <option key={name}>{name}</option>)}
          </select></label>
        <input name="text" aria-label="Note" maxLength="500" autoComplete="off" required />
        <button>Write</button>
        <button type="button" id="logout" onClick={() => attempt("logout", {}).then(onLeave)}>
          Log out</button>
      </form>
      <p id="problem" role="alert">{problem}</p>
      <div role="log" aria-label="Notes">
        <ol id="notes">
          {notes.map((note) => (
            <li key={note.id}><small>{note.from} to {note.to || "everybody"}: </small>{note.text}</li>
          ))}
        </ol>
      </div>
    </>
  );
}
