/*! wsredis.js: a WebSocket to wsredis that comes back by itself. MIT licence. */
(() => {
  "use strict";

  // What wsredis.errors.CLOSE_CODES does not retry: a new connection would end in the same way.
  const FINAL_CODES = [1000, 1002, 1007, 1008, 1009, 4401, 4403];
  const BUSY_CODE = 1013;

  const DEFAULTS = {
    heartbeat_interval: 5000,
    binary_type: "blob",
    protocols: [],
    max_queued: 100,
    base_delay: 1000,
    max_delay: 30000,
    busy_delay: 5000,
    stable_after: 5000,
    connect_timeout: 20000,
  };

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

  function WS4Redis(options) {
    if (!(this instanceof WS4Redis)) return new WS4Redis(options);
    const page = config() || {};
    const opts = { ...options };
    const defaults = { ...DEFAULTS, heartbeat_msg: page.heartbeat };
    for (const name in defaults) if (opts[name] === undefined) opts[name] = defaults[name];
    const url = address(opts, page.uri || "/ws/");
    const listeners = { online: wake, pageshow: wake, pagehide: hide };
    let state = "";
    let socket = null;
    let queue = [];
    let failures = 0;
    let missed = 0;
    let openedAt, attempt, timer, heartbeat;

    // A callback that fails shall be seen, and shall not stop the machine.
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

    function connect() {
      const mine = attempt = {};
      openedAt = Infinity;
      timer = setTimeout(fail, opts.connect_timeout, "no connection in time");
      enter("connecting", { failures }, "connecting");
      if (attempt !== mine) return;
      if (!opts.token) return open();
      new Promise((resolve) => resolve(opts.token())).then(
        (token) => { if (attempt === mine) open(token); },
        (error) => { if (attempt === mine) fail("no token: " + error); });
    }

    function open(token) {
      let protocols = [].concat(opts.protocols);
      // The server must choose one, and it should not be the secret.
      if (token) protocols = [protocols.length ? protocols : "wsredis", "bearer." + token].flat();
      try {
        socket = new WebSocket(url, protocols);
      } catch (error) {
        stop(null, error.message);
        throw error;
      }
      socket.binaryType = opts.binary_type;
      socket.onopen = opened;
      socket.onmessage = received;
      socket.onclose = closed;
    }

    function opened() {
      clearTimeout(timer);
      openedAt = performance.now();
      missed = 0;
      if (opts.heartbeat_msg) heartbeat = setInterval(beat, opts.heartbeat_interval);
      for (const message of queue.splice(0)) socket.send(message);
      enter("connected", {}, "connected");
    }

    function received({ data }) {
      if (opts.heartbeat_msg && data === opts.heartbeat_msg) missed = 0;
      else tell("receive_message", data);
    }

    function beat() {
      missed += 1;
      if (missed > 3) fail("no heartbeat");
      else socket.send(opts.heartbeat_msg);
    }

    function closed(event) {
      abandon();
      if (performance.now() - openedAt >= opts.stable_after) failures = 0;
      tell("disconnected", event);
      if (state === "stopped") return;
      const { code, reason } = event;
      if (FINAL_CODES.includes(code)) return stop(code, reason);
      const most = Math.min(opts.max_delay, opts.base_delay * 2 ** failures);
      const delay = Math.random() * most + (code === BUSY_CODE ? opts.busy_delay : 0);
      failures += 1;
      timer = setTimeout(connect, delay);
      enter("waiting", { delay, code, reason });
    }

    function rest() {
      clearTimeout(timer);
      clearInterval(heartbeat);
      attempt = null;
    }

    // Give up the socket and all that is under way.
    function abandon() {
      rest();
      if (!socket) return;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
      socket = null;
    }

    function fail(reason) {
      abandon();
      closed(new CloseEvent("close", { code: 1006, reason }));
    }

    function stop(code, reason) {
      rest();
      for (const name in listeners) removeEventListener(name, listeners[name]);
      enter("stopped", { code, reason, dropped: queue.splice(0).length });
    }

    function wake(event) {
      if (state !== "waiting" || event.persisted === false) return;
      clearTimeout(timer);
      failures = 0;
      connect();
    }

    // A page that is left, perhaps to come back from the back/forward cache, says nothing of it.
    function hide() {
      abandon();
      state = "waiting";
    }

    this.send_message = (message) => {
      if (state === "connected" && socket && socket.readyState === 1) return socket.send(message);
      if (state === "stopped") throw new Error("WS4Redis: closed");
      if (queue.length >= opts.max_queued) throw new Error("WS4Redis: too many messages wait");
      queue.push(message);
    };
    this.close = () => {
      if (state === "stopped") return;
      if (socket) socket.close();
      stop(null, "");
    };
    this.get_state = () => (socket ? socket.readyState : state === "connecting" ? 0 : 3);
    ["connecting", "connected", "closing", "closed"].forEach((name, number) => {
      this["is_" + name] = () => this.get_state() === number;
    });

    for (const name in listeners) addEventListener(name, listeners[name]);
    connect();
  }

  WS4Redis.config = config;
  globalThis.WS4Redis = WS4Redis;
})();
