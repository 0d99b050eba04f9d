/* The playground of wsredis: sockets to try, their frames, and the code for the same. */
(() => {
  "use strict";

  const settings = JSON.parse(document.getElementById("settings").textContent);
  const AUDIENCES = ["broadcast", "group", "user", "session"];
  const VERBS = ["subscribe", "publish"];
  const VERB_WORDS = { subscribe: "hears", publish: "says" };
  const TRANSPORTS = { websocket: "WebSocket", sse: "Server-Sent Events", polling: "long polling" };
  const START = "demo?subscribe-broadcast&publish-broadcast&echo";
  // Frames that a page shows; the oldest goes first.
  const LONGEST = 500;
  // Milliseconds after which frames are shown, together with those that came meanwhile.
  const BATCH = 30;
  // Characters of one frame that are shown.
  const MOST = 10000;
  // Another process of the gateway may answer, which does not know the socket: each question goes by
  // a new connection, and so to any of them.
  const QUESTIONS = settings.workers > 1 ? 12 + 4 * settings.workers : 3;

  const clients = [];
  // Clients whose script is about to open a socket.
  const dialling = [];

  // -- Elements

  function make(tag, properties, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function hidden(text) {
    return make("span", { className: "hidden", textContent: text });
  }

  function clock(at = new Date()) {
    return at.toLocaleTimeString([], { hour12: false });
  }

  // -- URLs

  const base = new URL(settings.uri, location.href);

  function socket_base() {
    return base.href.replace(/^http/, "ws");
  }

  // The part of a URL after the prefix. Somebody may have pasted a whole one.
  function wish_of(text) {
    const [wish] = split(text.trim(), "#");
    for (const start of [socket_base(), base.href, base.pathname]) {
      if (wish.startsWith(start)) return wish.slice(start.length);
    }
    return wish;
  }

  // What a URL asks for. Flags that are none stay, so that the gateway can name them.
  function parse(wish) {
    const [path, query = ""] = split(wish_of(wish), "?");
    let facility = path;
    try {
      facility = decodeURIComponent(path);
    } catch {}
    const asked = { facility, subscribe: [], publish: [], echo: false, others: [] };
    for (const each of query.split("&").filter(Boolean)) {
      // The gateway understands subscribe=user, too.
      const flag = each.toLowerCase().replace(/^(subscribe|publish)=/, "$1-").replace(/=$/, "");
      const [verb, audience] = split(flag, "-");
      if (flag === "echo") asked.echo = true;
      else if (VERBS.includes(verb) && AUDIENCES.includes(audience)) asked[verb].push(audience);
      else asked.others.push(each);
    }
    return asked;
  }

  function split(text, sign) {
    const at = text.indexOf(sign);
    return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
  }

  function written({ facility, subscribe, publish, echo, others }) {
    const flags = [
      ...AUDIENCES.filter((each) => subscribe.includes(each)).map((each) => "subscribe-" + each),
      ...AUDIENCES.filter((each) => publish.includes(each)).map((each) => "publish-" + each),
      ...(echo ? ["echo"] : []),
      ...others,
    ];
    const path = facility.split("/").map(encodeURIComponent).join("/");
    return flags.length ? path + "?" + flags.join("&") : path;
  }

  // -- The sockets, as the browser has them: the script shows no frame that is not a message

  class SeenSocket extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      this.client = take(url) || clients.find((each) => each.url === url) || clients[0];
      this.addEventListener("message", ({ data }) => this.client.arrived(this, data));
    }

    send(data) {
      super.send(data);
      this.client.left(data);
    }
  }

  function take(url) {
    const at = dialling.findIndex((each) => url.startsWith(each.url));
    return at < 0 ? null : dialling.splice(at, 1)[0];
  }

  globalThis.WebSocket = SeenSocket;

  // -- One client: a socket, its frames, its settings

  class Client {
    constructor(wish) {
      const { firstElementChild } = document.getElementById("client").content.cloneNode(true);
      this.element = firstElementChild;
      this.parts = {};
      for (const each of this.element.querySelectorAll("[data-part]")) this.parts[each.dataset.part] = each;
      this.asked = parse(wish);
      this.report = null;
      this.connection = null;
      // Messages that were sent and have not come back: a lost one must not look sent.
      this.unconfirmed = [];
      this.pending = [];
      this.last = null;
      this.may_repeat = false;
      this.fill();
      this.listen();
    }

    name(letter) {
      this.letter = letter;
      this.parts.title.textContent = letter ? "Client " + letter : "";
      this.element.setAttribute("aria-label", letter ? "Client " + letter : "The socket");
      this.parts.log.setAttribute("aria-label", "Frames" + (letter ? " of client " + letter : ""));
    }

    // Writes what is asked for into the form.
    fill() {
      const { parts, asked } = this;
      parts.base.textContent = socket_base();
      parts.facility.value = asked.facility;
      parts.echo.checked = asked.echo;
      parts.url.value = this.wish = written(asked);
      parts.audiences.replaceChildren(...AUDIENCES.map((audience) => {
        const boxes = VERBS.map((verb) => make("td", {}, make("label", {}, make("input", {
          type: "checkbox",
          name: verb + "-" + audience,
          checked: asked[verb].includes(audience),
          ariaLabel: VERB_WORDS[verb] + " " + audience,
        }))));
        const what = make("td", {});
        what.dataset.audience = audience;
        return make("tr", {}, make("th", { scope: "row", textContent: audience }), ...boxes, what);
      }));
      this.show_report();
    }

    listen() {
      const { parts } = this;
      parts.say.addEventListener("submit", (event) => {
        event.preventDefault();
        this.say();
      });
      for (const form of [parts.settings, parts.address]) {
        // Enter changes a field, too.
        form.addEventListener("submit", (event) => event.preventDefault());
        form.addEventListener("change", ({ target }) => this.changed(target));
      }
      parts.toggle.addEventListener("click", () => (this.state === "stopped" ? this.connect() : this.disconnect()));
      parts.clear.addEventListener("click", () => {
        this.pending.length = 0;
        parts.log.replaceChildren();
      });
    }

    changed(target) {
      const { parts } = this;
      if (target === parts.url) {
        this.asked = parse(parts.url.value);
      } else {
        const checked = (verb) => AUDIENCES.filter((each) => (
          parts.audiences.querySelector(`[name="${verb}-${each}"]`).checked));
        this.asked = {
          facility: parts.facility.value,
          subscribe: checked("subscribe"),
          publish: checked("publish"),
          echo: parts.echo.checked,
          others: this.asked.others,
        };
      }
      const focused = document.activeElement && document.activeElement.name;
      this.fill();
      if (focused) parts.audiences.querySelector(`[name="${focused}"]`)?.focus();
      this.connect();
      remember();
    }

    get url() {
      return new URL(socket_base() + this.wish).href;
    }

    connect() {
      this.close();
      const { parts } = this;
      const token = parts.token.value.trim();
      const transport = parts.transport.value;
      this.report = null;
      this.connection = null;
      this.hints([]);
      this.show_report();
      const mine = this.attempt = {};
      const if_mine = (use) => (...all) => { if (this.attempt === mine) use(...all); };
      let script = null;
      try {
        if (this.asked.facility.split("/").some((each) => each === "." || each === "..")) {
          throw new Error("no browser can name this facility in a URL");
        }
        script = new WS4Redis({
          uri: this.url,
          binary_type: "arraybuffer",
          heartbeat_msg: settings.heartbeat || undefined,
          ...(transport ? { transports: [transport] } : {}),
          ...(token ? { token: () => token } : {}),
          connecting: if_mine(() => dialling.push(this)),
          unsent: if_mine((messages) => this.unsent(messages)),
          receive_message: if_mine((data) => this.received(data)),
          disconnected: if_mine((event) => this.lost(event)),
          state: if_mine((state, detail) => this.entered(state, detail || {})),
          hello: if_mine((hello) => this.greeted(hello)),
        });
      } catch (error) {
        this.entered("stopped", { reason: error.message });
      }
      this.script = script;
    }

    close() {
      this.attempt = null;
      this.dialled();
      if (this.script) this.script.close();
      this.script = null;
    }

    dialled() {
      const at = dialling.indexOf(this);
      if (at >= 0) dialling.splice(at, 1);
    }

    disconnect() {
      this.close();
      this.doubt();
      this.entered("stopped", { reason: "you closed it" });
    }

    entered(state, detail) {
      const { parts } = this;
      // Another transport opens no WebSocket.
      if (state !== "connecting") this.dialled();
      this.state = state;
      this.transport = detail.transport || this.transport;
      let text = state;
      if (state === "connected") text = "connected by " + TRANSPORTS[detail.transport];
      if (state === "waiting") text = `not connected${why(detail)}, next try in ${Math.ceil(detail.delay / 1000)} s`;
      if (state === "stopped") text = "closed for good" + why(detail);
      parts.state.dataset.state = state;
      parts.state.textContent = text;
      parts.send.disabled = state !== "connected";
      parts.toggle.textContent = state === "stopped" ? "Connect" : "Disconnect";
      if (state === "connected") this.note(text + " at " + clock());
      if (state === "stopped") this.note(text, true);
      if (state !== "connected" && state !== "connecting") {
        this.report = null;
        this.connection = null;
        this.show_report();
      }
      if (state === "connected" && detail.transport !== "websocket") this.show_report();
    }

    lost({ code, reason }) {
      this.doubt();
      this.may_repeat = true;
      this.note(`closed with ${code}${reason ? ": " + reason : ""}`, true);
    }

    // Without its own messages a client cannot tell, but the script can guess.
    unsent(messages) {
      if (!this.asked.echo) for (const each of messages) this.note("perhaps not sent: " + each, true);
    }

    doubt() {
      for (const message of this.unconfirmed.splice(0)) this.note("perhaps not sent: " + message, true);
    }

    // -- Frames

    say() {
      const { text } = this.parts;
      const message = text.value;
      if (message && this.state === "connected" && this.script) {
        try {
          this.script.send_message(message);
        } catch (error) {
          this.note(error.message, true);
          return;
        }
        if (this.asked.echo && message !== settings.heartbeat) this.unconfirmed.push(message);
        if (this.transport !== "websocket") this.frame("out", message);
        text.value = "";
      }
      text.focus();
    }

    // A frame of a WebSocket, before the script has it.
    arrived(socket, data) {
      if (typeof data === "string") {
        if (data === settings.heartbeat) this.frame("beat", data);
        return;
      }
      const text = text_of(data);
      if (text === "") this.frame("beat", "an empty binary frame");
      else if (text !== null && socket.protocol === "wsredis") this.frame("control", text);
    }

    left(data) {
      if (data === settings.heartbeat) this.frame("beat out", data);
      else if (typeof data === "string") this.frame("out", data);
      else this.frame("beat out", "an empty binary frame");
    }

    received(data) {
      if (typeof data !== "string") {
        this.frame("in bytes", `${data.byteLength} bytes that are not text`);
        return;
      }
      // A new connection begins with the stored message, which may be the one that is shown last.
      const is_repeated = this.may_repeat && data === this.last;
      this.may_repeat = false;
      const at = this.unconfirmed.indexOf(data);
      if (at >= 0) this.unconfirmed.splice(at, 1);
      if (!is_repeated) this.frame(at >= 0 ? "in own" : "in", data);
      this.last = data;
    }

    frame(kind, text) {
      if (kind.includes("beat") && !this.parts.beats.checked) return;
      const at = new Date();
      this.add(() => frame_element(kind, text, at));
    }

    note(text, is_bad) {
      this.add(() => make("div", { className: is_bad ? "note bad" : "note", textContent: text }));
    }

    // Thousands may come in a second: a page that showed each by itself would freeze.
    add(make_element) {
      if (!this.pending.length) setTimeout(() => this.show(), BATCH);
      this.pending.push(make_element);
      if (this.pending.length > 2 * LONGEST) this.pending.splice(0, LONGEST);
    }

    show() {
      const { log } = this.parts;
      const news = this.pending.splice(0).slice(-LONGEST);
      const is_at_end = log.scrollTop + log.clientHeight >= log.scrollHeight - 40;
      const rest = [...log.children].slice(0, Math.max(0, log.children.length + news.length - LONGEST));
      for (const each of rest) each.remove();
      log.append(...news.map((make_element) => make_element()));
      if (is_at_end) log.scrollTop = log.scrollHeight;
    }

    // -- What the gateway says about this socket

    greeted(hello) {
      this.connection = hello.id;
      this.parts.id.textContent = hello.id;
      this.hints(hello.hints || []);
      // Each poll is another connection, which has ended before one could ask about it.
      if (this.transport !== "polling") this.ask(hello.id, 0);
    }

    // The table of the audiences has the others.
    hints(all) {
      const rest = all.filter((each) => !/ no effect: | not granted$/.test(each));
      this.parts.hints.replaceChildren(...rest.map((each) => make("li", { textContent: each })));
    }

    async ask(id, attempt) {
      const token = this.parts.token.value.trim();
      let report = null;
      try {
        const answer = await fetch("/demo/socket?id=" + encodeURIComponent(id), {
          cache: "no-store",
          headers: token ? { Authorization: "Bearer " + token } : {},
        });
        if (answer.ok) report = await answer.json();
      } catch {}
      if (this.connection !== id) return;
      if (report) {
        this.report = report;
        this.hints(report.hints);
        this.show_report();
      } else if (attempt + 1 < QUESTIONS) {
        const again = () => { if (this.connection === id) this.ask(id, attempt + 1); };
        setTimeout(again, Math.min(50 * 1.25 ** attempt, 500));
      }
    }

    show_report() {
      const { parts, report } = this;
      parts.id.textContent = this.connection || (this.state === "connected" ? "not told on this transport" : "none");
      parts.identity.textContent = report ? identity_of(report.identity) : "unknown";
      for (const cell of parts.audiences.querySelectorAll("[data-audience]")) {
        cell.replaceChildren(...(report ? audience_lines(report, cell.dataset.audience) : []));
      }
      if (clients[0] === this) show_code();
    }
  }

  function frame_element(kind, text, at) {
    const is_out = kind.includes("out");
    const tag = kind.includes("own") ? "yours" : kind === "control" ? "gateway" : "";
    const bytes = new TextEncoder().encode(text).length;
    const shown = text.length > MOST ? text.slice(0, MOST) + "\u2026" : text;
    const arrow = make("span", { ariaHidden: "true", textContent: is_out ? "\u2191" : "\u2193" });
    return make("div", { className: "frame " + kind },
      make("span", {}, arrow, hidden(is_out ? "sent" : "received")),
      make("span", { className: "payload", textContent: shown }),
      make("span", { className: "meta" },
        ...(tag ? [make("span", { className: "tag", textContent: tag })] : []),
        ...(kind.includes("bytes") || kind.includes("beat") ? [] : [make("i", { textContent: size(bytes) + " " })]),
        clock(at)));
  }

  function why({ code, reason }) {
    const text = [code && code !== 1005 ? code : "", reason].filter(Boolean).join(" ");
    return text === "1006" ? " (no answer)" : text ? ` (${text})` : "";
  }

  function size(bytes) {
    return bytes < 1000 ? bytes + " B" : (bytes / 1000).toFixed(1) + " kB";
  }

  // The text of bytes, or null if they are none.
  function text_of(bytes) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return null;
    }
  }

  function identity_of({ user, groups, session }) {
    if (user === null && !groups.length) return session ? "nobody is logged in; there is a session" : "nobody";
    const words = [user === null ? "no user" : user];
    if (groups.length) words.push("in " + groups.join(", "));
    if (session) words.push("with a session");
    return words.join(", ");
  }

  // Options of the gateway are one word.
  function sentence(text) {
    return make("span", {}, ...text.split(/(--[a-z-]+)/).map((each, at) => (
      at % 2 ? make("code", { className: "option", textContent: each }) : each)));
  }

  function audience_lines(report, audience) {
    const entries = VERBS.map((verb) => report[verb].find((each) => each.audience === audience));
    const names = [...new Set(entries.flatMap((each) => each.channels))];
    const lines = names.map((each) => make("code", { textContent: each }));
    const missing = entries.map((each, at) => [VERBS[at], each]).filter(([, each]) => each.why && (each.asked || !names.length));
    const reasons = [...new Set(missing.map(([, each]) => each.why))];
    if (reasons.length === 1 && !names.length) lines.push(sentence(reasons[0]));
    else for (const [verb, each] of missing) {
      if (each.asked) lines.push(sentence(VERB_WORDS[verb] + " nothing: " + each.why));
    }
    const others = audience === "session" ? VERBS.flatMap((verb) => report[verb + "_others"] || []) : [];
    for (const each of new Set(others)) lines.push(make("span", {}, "also ", make("code", { textContent: each })));
    return lines;
  }

  // -- Code

  // No quotes stop a terminal from obeying a control character that is pasted, such as Ctrl-C. The
  // gateway takes none either.
  function quoted(name) {
    const word = name.replace(/[\0-\x1f\x7f-\x9f]/g, "\ufffd");
    return /^[\w.:@%+,\/-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
  }

  function text(word) {
    return JSON.stringify(word).replaceAll("<", "\\u003c");
  }

  // The names for which a back end publishes what this socket hears.
  function owners(client) {
    const who = client.report ? client.report.identity : { user: null, groups: [] };
    const heard = client.asked.subscribe;
    return {
      broadcast: heard.includes("broadcast") || !heard.some((each) => each === "user" || each === "group"),
      users: heard.includes("user") ? [who.user || "NAME"] : [],
      groups: heard.includes("group") ? (who.groups.length ? who.groups : ["NAME"]) : [],
    };
  }

  const LANGUAGES = {
    Shell(client) {
      const { broadcast, users, groups } = owners(client);
      const facility = client.asked.facility;
      const to = [
        ...(broadcast ? ["--broadcast"] : []),
        ...users.map((each) => "--user=" + quoted(each)),
        ...groups.map((each) => "--group=" + quoted(each)),
      ];
      const where = [
        ...(settings.prefix ? ["--prefix=" + quoted(settings.prefix)] : []),
        ...(settings.storedPrefix ? ["--stored-prefix=" + quoted(settings.storedPrefix)] : []),
        ...(settings.redisUrl ? ["--redis", quoted(settings.redisUrl)] : []),
      ];
      const name = (facility.startsWith("-") ? "-- " : "") + quoted(facility);
      const channels = [
        ...(broadcast ? ["broadcast:"] : []),
        ...users.map((each) => `user:${each}:`),
        ...groups.map((each) => `group:${each}:`),
      ].map((each) => (settings.prefix ? settings.prefix + ":" : "") + each + facility);
      return [
        ["Publish", [["wsredis publish", ...to, ...where, name, "'Hello from outside'"].join(" ")], "The command prints how many gateways have received it." + password("WSREDIS_REDIS_PASSWORD")],
        ["Publish, with any client of Redis", channels.map((each) => (
          ["redis-cli", settings.redisCli, "PUBLISH", quoted(each), "'Hello from outside'"].filter(Boolean).join(" "))), "Redis is all that a program talks to, in any language."],
        ["Listen", [["wsredis connect", quoted(client.url)].join(" ")], "It shows each frame, and sends what you type."],
      ];
    },
    Python(client) {
      const { broadcast, users, groups } = owners(client);
      const parts = [
        "facility=" + text(client.asked.facility),
        ...(broadcast ? ["broadcast=True"] : []),
        ...(users.length ? [`users=[${users.map(text).join(", ")}]`] : []),
        ...(groups.length ? [`groups=[${groups.map(text).join(", ")}]`] : []),
        ...(settings.prefix ? ["prefix=" + text(settings.prefix)] : []),
        ...(settings.storedPrefix ? ["stored_prefix=" + text(settings.storedPrefix)] : []),
        ...(settings.redisUrl ? ["connection=" + text(settings.redisUrl)] : []),
      ];
      const say = [
        "from wsredis.publisher import RedisPublisher",
        "",
        "publisher = RedisPublisher(",
        ...parts.map((each) => `    ${each},`),
        ")",
        "publisher.publish_message(\"Hello\")",
      ];
      const hear = [
        "import asyncio",
        "",
        "from websockets.asyncio.client import connect",
        "",
        "",
        "async def main() -> None:",
        `    async with connect(${text(client.url)}) as socket:`,
        "        async for message in socket:",
        "            print(message)",
        "",
        "",
        "asyncio.run(main())",
      ];
      return [
        ["Publish", say, "pip install 'wsredis[publisher]'" + password("WSREDIS_REDIS_PASSWORD")],
        ["Listen", hear, "pip install websockets"],
      ];
    },
    JavaScript(client) {
      const { subscribe, publish } = client.asked;
      const is_harmless = !publish.length && subscribe.every((each) => each === "broadcast");
      const html = [
        `<script src="${new URL("/wsredis.js", base).href}"></script>`,
        "<script>",
        "  const socket = new WS4Redis({",
        `    uri: ${text(base.href + client.wish)},`,
        "    receive_message: (message) => console.log(message),",
        "  });",
        ...(publish.length ? ["  // later: socket.send_message(\"Hello\");"] : []),
        "</script>",
      ];
      const plain = [
        `const socket = new WebSocket(${text(client.url)});`,
        "socket.onmessage = (event) => console.log(event.data);",
        ...(publish.length ? ["socket.onopen = () => socket.send(\"Hello\");"] : []),
      ];
      const note = is_harmless
        ? "Any page may hear broadcasts, also one of another origin."
        : "A page of another origin, such as another port, may hear broadcasts only: for more, start the gateway with --allow-origin and its origin.";
      return [
        ["With wsredis.js, which comes back by itself", html, note],
        ["With the WebSocket of the browser", plain, note],
      ];
    },
    curl(client) {
      if (!settings.streams) return [["", ["# this gateway was started with no-streams"], ""]];
      const token = client.parts.token.value.trim() ? [`-H "Authorization: Bearer $TOKEN"`] : [];
      const { facility, subscribe, publish } = client.asked;
      const to = (verb, audiences) => quoted(base.href + written({
        facility, subscribe: [], publish: [], [verb]: audiences.length ? audiences : ["broadcast"], echo: false, others: [],
      }));
      const note = [...subscribe, ...publish].every((each) => each === "broadcast")
        ? ""
        : "For users, groups and sessions curl has to say who it is, as with -b and the cookie of a session.";
      return [
        ["Listen", [["curl -N -H 'Accept: text/event-stream'", ...token, to("subscribe", subscribe)].join(" ")], note],
        ["Publish", [["curl -d 'Hello from curl'", ...token, to("publish", publish)].join(" ")], note],
      ];
    },
  };

  function password(variable) {
    return settings.redisHasPassword ? ` This Redis has a password: set ${variable}.` : "";
  }

  let language = Object.keys(LANGUAGES)[0];

  function show_code() {
    if (!clients.length) return;
    const panel = document.getElementById("panel");
    panel.setAttribute("aria-labelledby", "tab-" + language);
    panel.replaceChildren(...LANGUAGES[language](clients[0]).map(([title, lines, note]) => {
      const pre = make("pre", { tabIndex: 0, ariaLabel: title || language }, make("code", { textContent: lines.join("\n") }));
      const button = make("button", { type: "button", className: "quiet", textContent: "Copy" });
      button.setAttribute("aria-label", `Copy: ${title}`);
      button.addEventListener("click", () => copy(pre, button));
      return make("div", { className: "snippet" },
        make("header", {}, make("strong", { textContent: title }), button), pre,
        ...(note ? [make("p", { textContent: note })] : []));
    }));
  }

  async function copy(pre, button) {
    let is_done = false;
    try {
      await navigator.clipboard.writeText(pre.textContent);
      is_done = true;
    } catch {
      // Without TLS and not on this machine there is no clipboard for scripts.
      getSelection().selectAllChildren(pre);
      is_done = document.execCommand("copy");
    }
    button.textContent = is_done ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  function make_tabs() {
    const names = Object.keys(LANGUAGES);
    const tabs = names.map((name) => {
      const tab = make("button", { type: "button", role: "tab", id: "tab-" + name, textContent: name });
      tab.setAttribute("aria-controls", "panel");
      tab.addEventListener("click", () => choose(name));
      return tab;
    });
    function choose(name, with_focus) {
      language = name;
      for (const tab of tabs) {
        const is_it = tab.textContent === name;
        tab.setAttribute("aria-selected", String(is_it));
        tab.tabIndex = is_it ? 0 : -1;
        if (is_it && with_focus) tab.focus();
      }
      show_code();
    }
    const list = document.getElementById("tabs");
    list.append(...tabs);
    list.addEventListener("keydown", (event) => {
      const at = names.indexOf(language);
      const steps = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: names.length - 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      choose(names.at(steps[event.key] % names.length), true);
    });
    choose(language);
  }

  // -- The page

  // The address of the page holds the wish of the first client, for a reload and for a second window.
  function remember() {
    const hash = "#" + clients[0].wish;
    history.replaceState(null, "", clients[0].wish === START ? location.pathname : hash);
    document.getElementById("window").href = "/" + hash;
  }

  function add(wish) {
    const client = new Client(wish);
    clients.push(client);
    document.getElementById("clients").append(client.element);
    name_all();
    client.connect();
    return client;
  }

  function name_all() {
    const whose = clients.length > 1 ? "The same as client A from your own code" : "The same from your own code";
    document.getElementById("code-title").textContent = whose;
    clients.forEach((each, at) => each.name(clients.length > 1 ? "AB"[at] : ""));
  }

  document.getElementById("split").addEventListener("click", ({ target }) => {
    if (clients.length > 1) {
      const last = clients.pop();
      last.close();
      last.element.remove();
      name_all();
    } else {
      add(clients[0].wish).parts.text.focus({ preventScroll: true });
    }
    target.setAttribute("aria-pressed", String(clients.length > 1));
  });

  addEventListener("hashchange", () => {
    clients[0].asked = parse(location.hash.slice(1) || START);
    clients[0].fill();
    clients[0].connect();
    remember();
  });

  document.getElementById("version").textContent = settings.version;
  make_tabs();
  add(location.hash.slice(1) || START).parts.text.focus({ preventScroll: true });
  remember();
  show_code();
})();
