const text = document.getElementById("text");

const socket = new WS4Redis({
  facility: "chat",
  subscribe: "broadcast",
  publish: "broadcast",
  echo: true,
  receive_message: (data) => {
    const item = document.createElement("li");
    item.textContent = data;
    document.getElementById("messages").append(item);
  },
  state: (name) => {
    document.getElementById("state").textContent = name;
  },
});

document.getElementById("form").addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send_message(text.value);
  text.value = "";
});
