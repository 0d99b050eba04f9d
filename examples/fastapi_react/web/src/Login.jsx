import { useState } from "react";

import { ask } from "./ask.js";

export function Login({ onLogin }) {
  const [problem, setProblem] = useState("");

  async function submit(event) {
    event.preventDefault();
    try {
      await ask("login", Object.fromEntries(new FormData(event.target)));
      onLogin();
    } catch (error) {
      setProblem(error.message);
    }
  }

  return (
    <form id="login" onSubmit={submit}>
      <p id="state" role="status">log in to read and write</p>
      <label>Name <input name="user" autoComplete="username" required /></label>
      <label>Password <input name="password" type="password" autoComplete="current-password" required /></label>
      <button>Log in</button>
      <p id="problem" role="alert">{problem}</p>
    </form>
  );
}
