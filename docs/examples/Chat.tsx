import { useState } from "react";
import { useWsredis } from "wsredis/react";

export default function Chat() {
  const [text, setText] = useState("");
  const { state, messages, send } = useWsredis({
    facility: "chat",
    subscribe: "broadcast",
    publish: "broadcast",
    echo: true,
    keep: 100,
  });

  return (
    <main>
      <h1>Chat</h1>
      <p role="status">{state}</p>
      <ul>
        {messages.map((message, index) => (
          <li key={index}>{message}</li>
        ))}
      </ul>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          send(text);
          setText("");
        }}
      >
        <label>
          Message <input value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <button>Send</button>
      </form>
    </main>
  );
}
