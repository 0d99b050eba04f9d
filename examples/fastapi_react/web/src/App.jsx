import { useEffect, useState } from "react";

import { ask } from "./ask.js";
import { Login } from "./Login.jsx";
import { Notes } from "./Notes.jsx";

export function App() {
  // Undefined before the application was asked, null while nobody is logged in.
  const [user, setUser] = useState();

  async function look() {
    try {
      setUser((await ask("token")).user);
    } catch (error) {
      if (error.status === 401) setUser(null);
      else setTimeout(look, 1000);
    }
  }

  useEffect(() => { look(); }, []);
  return (
    <main>
      <h1>Notes</h1>
      {user === null && <Login onLogin={look} />}
      {user && <Notes user={user} onLeave={look} />}
    </main>
  );
}
