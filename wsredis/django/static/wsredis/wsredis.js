/*! wsredis.js: live messages from wsredis, by a connection that comes back by itself. MIT licence. */
(() => {
  "use strict";

  // What wsredis.errors.CLOSE_CODES does not retry: a new connection would end in the same way.
  const FINAL_CODES = [1000, 1002, 1007, 1008, 1009, 4400, 4401, 4403];
  const BUSY_CODE = 1013;

  // Binary frames that are UTF-8 are then from the gateway itself: its hello comes first, and empty
  // ones are heartbeats. A gateway that chooses this and says no hello is an older one.
  const PROTOCOL = "wsredis";
  const HELLO = 1000;
  // What a heartbeat may be late, and how long it takes to read what came while the page slept.
  const LATE = 8000;
  const AWAKE = 2000;
  // A message is taken if the gateway is heard so long after it; else those of the last minute are
  // in doubt.
  const TAKEN = 2000;
  const DOUBT = 60000;

  // The best one first.
  const TRANSPORTS = ["websocket", "sse", "polling"];
  // The HTTP statuses that mean as much as a close code.
  const STATUS_CODES = { 401: 4401, 403: 4403, 413: 1009, 429: BUSY_CODE, 503: BUSY_CODE };
  // The first event comes with the head of a stream. If either is late, something collects answers.
  const FIRST_EVENT = 1500;
  const NO_HEAD = 5000;
  // A WebSocket that opens so late may be blocked: another transport runs beside it.
  const SLOW = 5000;
  // Seconds that the gateway may hold a poll.
  const HOLD = 25;
  // A WebSocket that has worked is given up for another transport after so many failures.
  const PROVEN_FAILURES = 3;

  const DEFAULTS = {
    heartbeat_interval: 5000,
    binary_type: "blob",
    protocols: PROTOCOL,
    transports: TRANSPORTS,
    max_queued: 100,
    base_delay: 1000,
    max_delay: 30000,
    busy_delay: 5000,
    stable_after: 5000,
    connect_timeout: 20000,
    retry_websocket: 300000,
  };
  const OTHERS = (
    "uri facility subscribe publish echo heartbeat_msg token unsent hello receive_message state " +
    "connecting connected disconnected").split(" ");

  function config(id = "wsredis-config") {
    // Text of a user may have an id or a name, also one that hides a method of the document. It has
    // no script element. The last one counts, as it does where a page replaces its own.
    const scripts = globalThis.document
      ? Document.prototype.getElementsByTagName.call(document, "script") : [];
    const mine = [...scripts].filter((each) => each.id === id && each.type === "application/json");
    return mine.length ? JSON.parse(mine.pop().textContent) : null;
  }

  function address({ uri, facility, subscribe, publish, echo }, base) {
    if (uri === undefined) {
      if (facility === undefined) throw new Error("WS4Redis: no uri and no facility");
      const segments = String(facility).split("/");
      // URLs resolve these, encoded or not: the name would be another one.
      if (segments.includes(".") || segments.includes("..")) {
        throw new Error("WS4Redis: no browser can name the facility " + facility);
      }
      const flags = (right, audiences = []) => [].concat(audiences).map((each) => right + each);
      const all = [...flags("subscribe-", subscribe), ...flags("publish-", publish)];
      if (echo) all.push("echo");
      uri = base + segments.map(encodeURIComponent).join("/") + "?" + all.join("&");
    }
    const url = new URL(uri, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  function extend(url, fields) {
    const [whole] = url.split("#");
    return [whole.includes("?") || !fields.length ? whole : whole + "?", ...fields].join("&");
  }

  function cursor_field({ cursor }) {
    return cursor ? ["cursor=" + encodeURIComponent(cursor)] : [];
  }

  // The text of bytes, as the gateway sees it; else one character for each byte.
  function text_of(bytes) {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch {
      return new TextDecoder("latin1").decode(bytes);
    }
  }

  // What passes from one HTTP connection to the next: the position in the messages, and the echo
  // rule of the gateway, which goes by content: a page does not hear a message that equals its last
  // one, nor an earlier one of its own that is still on its way back.
  function make_memory(url) {
    const all = [...new URL(url).searchParams].flatMap(([name, value]) => [name, `${name}-${value}`]);
    const flags = new Set(all.map((each) => each.trim().toLowerCase().replace(/-$/, "")));
    const copies = [...flags].filter((each) => (
      each.startsWith("subscribe-") && flags.has(each.replace("subscribe", "publish")))).length;
    const own = new Map();
    let last = null;
    const count = (text, change) => {
      const left = (own.get(text) || 0) + change;
      if (left > 0) own.set(text, left);
      else own.delete(text);
    };
    return {
      cursor: null,
      restart() {
        own.clear();
        last = null;
      },
      said(text) {
        if (flags.has("echo")) return;
        last = text;
        if (text && copies) count(text, copies);
        if (own.size > 1024) own.delete(own.keys().next().value);
      },
      unsaid: (text) => count(text, -copies),
      hears(text) {
        if (!own.has(text)) return text !== last;
        count(text, -1);
        return false;
      },
    };
  }

  // Milliseconds without a sign of life after which a connection is given up. No timer waits longer.
  function patience_of(hello) {
    return hello && hello.heartbeat > 0 ? Math.min(1000 * hello.heartbeat + LATE, 2e9) : 0;
  }

  // What the console is told, once in a page.
  const warned = new Set();
  function warn(text) {
    if (!warned.has(text)) console.warn("WS4Redis: " + text);
    warned.add(text);
  }

  // Looks like a WebSocket, and makes plain HTTP requests: one that is answered without an end, or,
  // if it polls, one after the other. Messages of the page go by requests of their own.
  function open_http(url, polls, token, memory, binary_type) {
    const control = new AbortController();
    const auth = token ? { Authorization: "Bearer " + token } : {};
    const socket = { readyState: 0, post, close };
    let timer;
    // After so long without a sign of life a stream is given up.
    let patience = 0;

    function finish(code, reason, buffered) {
      if (socket.readyState === 3) return;
      socket.readyState = 3;
      clearTimeout(timer);
      control.abort();
      const event = new CloseEvent("close", { code, reason, wasClean: code === 1000 });
      if (socket.onclose) socket.onclose(event, buffered);
    }

    function close() {
      if (socket.readyState > 1) return;
      socket.readyState = 2;
      Promise.resolve().then(() => finish(1000, ""));
    }

    function limit(milliseconds, reason, buffered) {
      clearTimeout(timer);
      timer = setTimeout(finish, milliseconds, 1006, reason, buffered);
    }

    function request(fields, headers, more) {
      return fetch(extend(url, fields), {
        cache: "no-store", credentials: "include", headers: { ...auth, ...headers }, ...more,
      });
    }

    async function get(type, ...fields) {
      if (!memory.cursor) memory.restart();
      const all = [...fields, ...cursor_field(memory)];
      const response = await request(all, { Accept: type }, { signal: control.signal });
      const { ok, status, headers } = response;
      const found = headers.get("Content-Type") || "";
      if (status !== 204 && !(ok && found.startsWith(type))) {
        const why = !found.startsWith("text/plain") ? ok ? "from no gateway" : ""
          : (await response.text()).slice(0, 200);
        finish(STATUS_CODES[status] || 1006, `HTTP ${status} ${why}`.trim());
      }
      return response;
    }

    // What came before may be incomplete.
    function begin(gap) {
      if (gap) memory.restart();
      if (socket.readyState === 0) {
        socket.readyState = 1;
        socket.onopen(gap);
      } else if (gap && socket.readyState === 1) {
        socket.ongap();
      }
    }

    function greet(hello) {
      if (hello) socket.onhello(hello);
    }

    function hear(text, data = text) {
      if (socket.readyState === 1 && memory.hears(text)) socket.onmessage({ data });
    }

    function hear_bytes(base64) {
      const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
      hear(text_of(bytes), binary_type === "blob" ? new Blob([bytes]) : bytes.buffer);
    }

    const events = {
      open(data) {
        const { ping, hello } = JSON.parse(data);
        patience = patience_of(hello) || 3000 * ping;
        greet(hello);
      },
      hello: (data) => greet(JSON.parse(data)),
      gap: () => begin(true),
      message: (data) => hear(data),
      json: (data) => hear(JSON.parse(data)),
      binary: hear_bytes,
      close(data) {
        const { code, reason } = JSON.parse(data);
        finish(code, reason);
      },
    };

    function take(block) {
      let name = "message";
      let id;
      const data = [];
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        const value = line.slice(colon + 1).replace(/^ /, "");
        const field = line.slice(0, colon);
        if (field === "event") name = value;
        if (field === "data") data.push(value);
        if (field === "id") id = value;
      }
      if (data.length && events[name]) {
        if (!["gap", "hello", "open"].includes(name)) begin();
        events[name](data.join("\n"));
      }
      if (id) memory.cursor = id;
    }

    async function stream() {
      limit(NO_HEAD, "no answer", true);
      const { body } = await get("text/event-stream");
      if (socket.readyState) return;
      limit(FIRST_EVENT, "no first event", true);
      const reader = body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
        rest = blocks.pop();
        for (const each of blocks) if (socket.readyState < 2) take(each);
        // Only now: a gap may have come with the first event.
        if (blocks.length) begin();
        if (socket.readyState !== 1) continue;
        clearTimeout(timer);
        if (patience) limit(patience, "no sign of life");
      }
    }

    async function poll() {
      for (let hold = 0; socket.readyState < 2; hold = HOLD) {
        const start = performance.now();
        limit(hold * 1000 + (hold ? LATE : HOLD * 1000), "no answer");
        const response = await get("application/json", "wait=" + hold);
        if (response.status === 204) {
          memory.cursor = response.headers.get("Wsredis-Cursor") || memory.cursor;
          begin();
          // Somebody else has answered.
          if (hold && performance.now() - start < 1000) await new Promise((go) => setTimeout(go, 1000));
          continue;
        }
        if (socket.readyState > 1) return;
        limit(HOLD * 1000, "no answer");
        const answer = await response.json();
        if (socket.readyState > 1) return;
        greet(answer.hello);
        begin(answer.gap);
        for (const each of answer.messages) {
          if (typeof each === "string") hear(each);
          else hear_bytes(each.base64);
        }
        memory.cursor = answer.cursor;
      }
    }

    // Returns the milliseconds after which the message is to be sent again, if it is.
    async function post(message) {
      const is_text = typeof message === "string";
      const text = is_text ? message : text_of(await new Response(message).arrayBuffer());
      memory.said(text);
      if (!text) return 0;
      try {
        const type = is_text ? {} : { "Content-Type": "application/octet-stream" };
        // It may be the last word of a page; browsers limit the size of all of these together.
        const keepalive = text.length < 1000;
        const { status, headers } = await request([], type, { method: "POST", body: message, keepalive });
        if (status === 429) {
          memory.unsaid(text);
          return 1000 * (headers.get("Retry-After") || 1);
        }
        // One that may be published nowhere is discarded, as the gateway does.
        if (status > 499 || status === 413) finish(STATUS_CODES[status] || 1006, "HTTP " + status);
      } catch {
        finish(1006, "");
      }
      return 0;
    }

    (polls ? poll : stream)().catch(() => {}).then(() => finish(1006, ""));
    return socket;
  }

  function WS4Redis(options) {
    if (!(this instanceof WS4Redis)) return new WS4Redis(options);
    const page = config() || {};
    const opts = { ...options };
    for (const name in opts) {
      if (!(name in DEFAULTS || OTHERS.includes(name))) warn("there is no option " + name);
    }
    const defaults = { ...DEFAULTS, heartbeat_msg: page.heartbeat };
    for (const name in defaults) if (opts[name] === undefined) opts[name] = defaults[name];
    const url = address(opts, page.uri || "/ws/");
    const transports = TRANSPORTS.filter((each) => [].concat(opts.transports).includes(each));
    if (!transports.length) throw new Error("WS4Redis: no transport");
    const [first] = transports;
    const memory = make_memory(url);
    const listeners = {
      online: wake, pageshow: wake, focus: wake, visibilitychange: wake, pagehide: hide,
    };
    const item = "wsredis " + new URL(url).host;
    let transport = first;
    let state = "";
    let socket = null;
    let queue = [];
    // Messages that are not known to be taken, with their times.
    let sent = [];
    let failures = 0;
    let missed = 0;
    let openedAt, attempt, timer, dueAt, is_busy, heartbeat, secret;
    // The last sign of life, and the timer that looks for the next one.
    let heardAt, watcher, is_spared;
    // Each doubles the patience: one message may take longer.
    let silences = 0;
    // Whether no subprotocol is offered, and when a WebSocket opened that had failed with one: a
    // server that chooses none, which no browser accepts.
    let is_bare;
    let bareAt = 0;
    // A WebSocket that is tried beside another transport, and the time of the last failure of one.
    let rival, failedAt, trial;
    let proven = false;

    // A callback that fails is seen, and stops nothing.
    function tell(name, ...details) {
      if (typeof opts[name] !== "function") return;
      try {
        opts[name](...details);
      } catch (error) {
        setTimeout(() => { throw error; });
      }
    }

    function enter(next, detail, callback) {
      state = next;
      tell(callback);
      // The callback may have closed.
      if (state === next) tell("state", next, detail);
    }

    // The transport that worked, for the next page. Some may store nothing.
    function remember() {
      try {
        sessionStorage.setItem(item, [transport, failedAt || 0, bareAt].join(" "));
      } catch {}
    }

    function recall() {
      try {
        const [name, at, bare] = sessionStorage.getItem(item).split(" ");
        proven = name === "websocket";
        bareAt = Number(bare) || 0;
        if (!transports.includes(name) || Date.now() - at > opts.retry_websocket) return;
        transport = name;
        failedAt = Number(at);
      } catch {}
    }

    function connect() {
      openedAt = Infinity;
      is_bare = options.protocols === undefined && Date.now() - bareAt < opts.retry_websocket;
      timer = setTimeout(fail, opts.connect_timeout, "no connection in time");
      const mine = attempt = {};
      enter("connecting", { failures }, "connecting");
      if (attempt === mine) with_token(open, (error) => fail("no token: " + error));
    }

    function with_token(use, refuse) {
      const mine = attempt;
      if (!opts.token) return use();
      new Promise((resolve) => resolve(opts.token())).then(
        (token) => { if (attempt === mine) use(token); },
        (error) => { if (attempt === mine) refuse(error); });
    }

    function dial(token, target) {
      let protocols = is_bare ? [] : [].concat(opts.protocols || []);
      // The server must choose one, and it should not be the secret.
      if (token) protocols = [protocols.length ? protocols : PROTOCOL, "bearer." + token].flat();
      return new WebSocket(target, protocols);
    }

    function open(token) {
      secret = token;
      if (transport !== "websocket") {
        const base = url.replace("ws", "http");
        socket = open_http(base, transport === "polling", token, memory, opts.binary_type);
      } else {
        try {
          const resumed = cursor_field(memory);
          socket = dial(token, resumed.length ? extend(url, resumed) : url);
        } catch (error) {
          // Software that blocks WebSockets may take the class away, or throw. A wrong URL is final.
          if (transports[1] && error.name !== "SyntaxError") return fall();
          stop(null, error.message);
          throw error;
        }
        if (may_fall()) trial = setTimeout(overtake, SLOW);
      }
      use(socket);
    }

    function use(link) {
      // A Blob is not read at once.
      link.binaryType = "arraybuffer";
      link.onopen = (gap) => {
        link.is_answered = true;
        if (link.protocol !== PROTOCOL) return ready(link, gap);
        // It is not blocked. A refusal may follow, where other clients get an HTTP status.
        clearTimeout(trial);
        link.timer = setTimeout(ready, HELLO, link);
      };
      link.onmessage = ({ data }) => {
        if (link === socket) hear();
        const is_text = typeof data === "string";
        if (!is_text && link.protocol === PROTOCOL && is_control(link, data)) return;
        ready(link);
        if (link !== socket) return;
        received(is_text || link.post || opts.binary_type !== "blob" ? data : new Blob([data]));
      };
      link.onclose = (event, buffered) => {
        clearTimeout(link.timer);
        lost(link, event, buffered);
      };
      link.ongap = () => tell_connected(true);
      link.onhello = (hello) => {
        link.hello = hello;
        for (const each of hello.hints || []) warn(each);
        if (link.is_ready && link === socket) greet();
      };
    }

    function ready(link, gap) {
      if (link.is_ready) return;
      link.is_ready = true;
      clearTimeout(link.timer);
      if (link === rival) won();
      else opened(gap);
    }

    function is_control(link, data) {
      let hello;
      try {
        const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
        hello = text && JSON.parse(text).hello;
      } catch {
        return false;
      }
      if (hello) {
        link.onhello(hello);
        ready(link);
      } else if (link.hello && !data.byteLength) {
        // The gateway looks for a sign of life as well.
        link.send(data);
      }
      return Boolean(link.hello);
    }

    function drop(link) {
      if (!link) return;
      clearTimeout(link.timer);
      link.onopen = link.onmessage = link.onclose = link.ongap = link.onhello = null;
      link.close();
    }

    // Whether a WebSocket that does not open may be blocked. That of a gateway that starts again does
    // not open, too.
    function may_differ() {
      return !proven || failures >= PROVEN_FAILURES;
    }

    function may_fall() {
      return transports[1] && may_differ();
    }

    // Whether it may be the subprotocol that the server does not know.
    function may_bare() {
      return options.protocols === undefined && !is_bare && !secret && (bareAt || may_differ());
    }

    function fall() {
      clearTimeout(trial);
      if (transport === "websocket") failedAt = 0;
      transport = transports[transports.indexOf(transport) + 1];
      open(secret);
    }

    function overtake() {
      rival = socket;
      fall();
    }

    function won() {
      const is_early = openedAt === Infinity;
      const winner = rival;
      rival = null;
      transport = "websocket";
      if (is_early) {
        drop(socket);
        socket = winner;
        return opened();
      }
      // Another one: it goes on where the page is, and this one has begun elsewhere.
      drop(winner);
      abandon();
      failures = 0;
      connect();
    }

    function lost(link, event, buffered) {
      const is_early = openedAt === Infinity && state !== "stopped";
      if (link === rival) {
        rival = null;
        if (!is_early) failed();
      } else if (is_early && buffered && transports.includes("polling")) {
        fall();
      } else if (is_early && rival) {
        socket = rival;
        rival = null;
        transport = "websocket";
      } else if (is_early && !link.is_answered && transport === "websocket" && may_bare()) {
        clearTimeout(trial);
        is_bare = true;
        open(secret);
      } else if (is_early && event.code === 1006 && transport === "websocket" && may_fall()) {
        fall();
      } else {
        closed(event);
      }
    }

    // Try a WebSocket again: soon after one that failed once, rarely after that.
    function plan(delay) {
      if (first === "websocket") trial = setTimeout(with_token, delay, probe, failed);
    }

    function probe(token) {
      try {
        use(rival = dial(token, url));
      } catch {
        failed();
      }
    }

    function failed() {
      failedAt = Date.now();
      remember();
      plan(opts.retry_websocket);
    }

    function greet() {
      if (is_watched()) watch();
      tell("hello", socket.hello);
    }

    function hear() {
      heardAt = Date.now();
      is_spared = false;
      if (state === "connected") silences = 0;
      if (sent.length && !socket.post && !socket.bufferedAmount) forget(TAKEN);
    }

    function forget(age) {
      sent = sent.filter(([, at]) => Date.now() - at < age);
    }

    function is_watched() {
      return socket && socket.protocol === PROTOCOL && patience_of(socket.hello);
    }

    function watch(due) {
      clearTimeout(watcher);
      const patience = patience_of(socket.hello) * 2 ** silences;
      const now = Date.now();
      // The page slept, and perhaps did not yet read what has come since.
      if (now - due > AWAKE && !is_spared) {
        heardAt = Math.max(heardAt, now - patience + AWAKE);
        is_spared = true;
      }
      const left = heardAt + patience - now;
      // The clock of the machine may have been set, too.
      if (left > 0 && left <= patience) watcher = setTimeout(watch, left, now + left);
      else {
        silences += 1;
        fail("no sign of life");
      }
    }

    function tell_connected(gap) {
      enter("connected", gap === true ? { transport, gap } : { transport }, "connected");
    }

    function opened(gap) {
      clearTimeout(timer);
      clearTimeout(trial);
      openedAt = performance.now();
      missed = 0;
      heardAt = Date.now();
      is_spared = false;
      if (transport === "websocket") {
        proven = true;
        failedAt = memory.cursor = null;
        bareAt = is_bare && !socket.protocol ? Date.now() : 0;
        if (opts.heartbeat_msg) heartbeat = setInterval(beat, opts.heartbeat_interval);
        for (const message of queue.splice(0)) send(message);
      } else {
        plan(failedAt ? Math.max(0, failedAt + opts.retry_websocket - Date.now()) : opts.retry_websocket / 30);
        failedAt = failedAt || Date.now();
        pump();
      }
      remember();
      if (socket.hello) greet();
      // The callback may have closed.
      if (state === "connecting") tell_connected(gap);
    }

    function note(message) {
      sent.push([message, Date.now()]);
      if (sent.length > opts.max_queued) sent.shift();
    }

    function send(message) {
      note(message);
      socket.send(message);
    }

    function received(data) {
      if (opts.heartbeat_msg && data === opts.heartbeat_msg) missed = 0;
      else tell("receive_message", data);
    }

    function beat() {
      missed += 1;
      if (missed > 3) fail("no heartbeat");
      else socket.send(opts.heartbeat_msg);
    }

    async function pump() {
      const mine = socket;
      if (mine.is_busy) return;
      mine.is_busy = true;
      while (mine.readyState === 1 && mine === socket && queue.length) {
        const message = queue.shift();
        note(message);
        const delay = await mine.post(message);
        // A post that failed has closed the connection.
        if (mine !== socket) return;
        sent = [];
        if (!delay) continue;
        queue.unshift(message);
        await new Promise((go) => setTimeout(go, delay));
      }
      mine.is_busy = false;
    }

    function closed(event) {
      const is_early = openedAt === Infinity;
      abandon();
      if (performance.now() - openedAt >= opts.stable_after) failures = 0;
      forget(event.wasClean ? state === "stopped" ? 0 : TAKEN : DOUBT);
      tell("disconnected", event);
      if (state === "stopped") return hand_back([]);
      const { code, reason } = event;
      if (FINAL_CODES.includes(code)) return stop(code, reason);
      if (is_early) {
        transport = first;
        if (reason) warn(`no connection yet: ${reason}`);
      }
      const most = Math.min(opts.max_delay, opts.base_delay * 2 ** failures);
      is_busy = code === BUSY_CODE;
      const delay = Math.random() * most + (is_busy ? opts.busy_delay : 0);
      failures += 1;
      wait(delay);
      enter("waiting", { delay, code, reason });
      hand_back([]);
    }

    function wait(delay) {
      clearTimeout(timer);
      timer = setTimeout(connect, delay);
      dueAt = performance.now() + delay;
    }

    // Messages that may never have arrived; the page knows whether it sends them again.
    function hand_back(dropped) {
      const all = [...sent.map(([message]) => message), ...dropped];
      sent = [];
      if (all.length) tell("unsent", all, state === "stopped");
    }

    function rest() {
      clearTimeout(timer);
      clearTimeout(trial);
      clearTimeout(watcher);
      clearInterval(heartbeat);
      attempt = null;
      drop(rival);
      rival = null;
    }

    // Give up the socket and all that is under way.
    function abandon() {
      rest();
      drop(socket);
      socket = null;
    }

    function fail(reason) {
      abandon();
      closed(new CloseEvent("close", { code: 1006, reason }));
    }

    function stop(code, reason) {
      rest();
      for (const name in listeners) removeEventListener(name, listeners[name]);
      const dropped = queue.splice(0);
      if (code && code !== 1000) warn(`the connection has ended for good: ${code} ${reason}`.trim());
      enter("stopped", { code, reason, dropped: dropped.length });
      // After the page's own end the socket still sends what it has.
      if (code || dropped.length) hand_back(dropped);
    }

    // The user or the network is back.
    function wake({ type, persisted }) {
      if (persisted === false || (type === "visibilitychange" && document.hidden)) return;
      if (state === "connected" && is_watched()) watch(0);
      if (state !== "waiting") return;
      const is_new = persisted || type === "online";
      if (is_new) {
        failures = 0;
        // Maybe in another network.
        transport = first;
      } else if (is_busy) {
        return;
      }
      // All pages of a network come back at the same moment, those of one user do not.
      const delay = Math.random() * opts.base_delay * (type === "online" ? 1 : 0.1);
      if (performance.now() + delay < dueAt) wait(delay);
    }

    // A page that is left, perhaps to come back from the back/forward cache, says nothing of it.
    function hide() {
      abandon();
      sent = [];
      state = "waiting";
      dueAt = Infinity;
    }

    this.send_message = (message) => {
      const is_open = state === "connected" && socket && socket.readyState === 1;
      if (is_open && !socket.post) return send(message);
      if (state === "stopped") throw new Error("WS4Redis: closed");
      if (queue.length >= opts.max_queued) throw new Error("WS4Redis: too many messages wait");
      queue.push(message);
      if (is_open) pump();
    };
    this.close = () => {
      if (state === "stopped") return;
      if (socket) socket.close();
      stop(null, "");
    };
    this.get_state = () => (state === "connecting" ? 0 : socket ? socket.readyState : 3);
    ["connecting", "connected", "closing", "closed"].forEach((name, number) => {
      this["is_" + name] = () => this.get_state() === number;
    });

    for (const name in listeners) addEventListener(name, listeners[name]);
    recall();
    connect();
  }

  WS4Redis.config = config;
  globalThis.WS4Redis = WS4Redis;
})();
