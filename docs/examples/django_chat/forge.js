new WS4Redis({
  facility: "userchat",
  publish: "broadcast",
  state: (name, detail) => console.log(name, detail),
}).send_message(JSON.stringify({
  id: crypto.randomUUID(), at: Date.now(), from: "mary", to: "everybody", text: "I resign!",
}));
