import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { useWsredis } from "wsredis/react";
import Chat from "./Chat";

/** A component whose options and callbacks change, and that comes and goes. */
function Changing({ facility }: { facility: string }) {
  const [count, setCount] = useState(0);
  const { state, detail, hello, messages, send } = useWsredis(
    facility !== "" && {
      facility,
      subscribe: "broadcast",
      publish: "broadcast",
      receive_message: () => setCount(count + 1),
      keep: 2,
    },
  );
  return (
    <output id="changing">
      {JSON.stringify({ facility, state, transport: detail.transport, count, messages })}
      <b>{hello?.subscribe.join()}</b>
      <button onClick={() => send("from " + facility)}>Send</button>
    </output>
  );
}

function App() {
  const [facility, setFacility] = useState<string | null>(null);
  Object.assign(window, { setFacility });
  return (
    <>
      <Chat />
      {facility !== null && <Changing facility={facility} />}
    </>
  );
}

createRoot(document.getElementById("app")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
