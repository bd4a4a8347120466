// Keeps a page live: it is fetched again when something changed, and morphed into the old one, so
// that the scroll position, the focus and open parts stay.
"use strict";
(() => {
  const POLL = 5000; // milliseconds between two looks without a stream
  const STALE = 60000; // before a look although nothing changed: availability goes on
  const CALM = 1000; // between two refreshes, however much changes
  const SILENCE = 15000; // after which a stream of another tab counts as none
  const RETRY = 30000; // before another try of a stream that was refused, and as much at random
  const root = document.body.dataset.root;
  const channel = new BroadcastChannel("plugind-ui");
  let tag = null; // of the page as it is shown
  let heard = Date.now(); // when the server last answered
  let offset = 0; // milliseconds that the server's clock is ahead of this one
  let running = false;
  let wanted = false;
  let last = 0;
  let timer = 0;

  // Times: the distance for people, the exact time in the tooltip.
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const absolute = new Intl.DateTimeFormat(undefined, {
    dateStyle: "medium", timeStyle: "long",
  });
  function distance(seconds) {
    const ago = Math.max(0, Math.round(seconds));
    const at = units.findIndex(([, length]) => ago >= length);
    if (at < 0) return "now";
    const [name, length] = units[at];
    const whole = Math.floor(ago / length);
    const next = units[at + 1];
    const rest = next && whole < 10 ? Math.floor((ago - whole * length) / next[1]) : 0;
    return `${whole} ${name}${rest ? ` ${rest} ${next[0]}` : ""} ago`;
  }
  function tellTimes() {
    for (const each of document.querySelectorAll("time")) {
      const at = Date.parse(each.dateTime);
      if (Number.isNaN(at)) continue;
      const text = distance((Date.now() + offset - at) / 1000);
      if (each.textContent !== text) each.textContent = text;
      if (each.dataset.of !== each.dateTime) {
        each.dataset.of = each.dateTime;
        each.title = `${absolute.format(at)} (${each.dateTime})`;
      }
    }
  }

  if (document.body.dataset.live !== "yes") {
    tellTimes();
    return;
  }

  const live = document.getElementById("live");
  function tell(now) {
    const at = new Date(heard).toLocaleTimeString(undefined, { timeZoneName: "short" });
    const texts = {
      stream: "Live.",
      poll: "Updated every 5 seconds.",
      lost: `Not connected. Shown as of ${at}.`,
    };
    const text = document.getElementById("live-text");
    if (live.dataset.state !== now || text.textContent !== texts[now]) {
      live.dataset.state = now;
      text.textContent = texts[now];
    }
  }

  const callbacks = {
    // What a script or the reader changed is kept: distances of times, fields, and open parts.
    beforeNodeMorphed: (old, made) =>
      !(old.nodeName === "TIME" && made.nodeName === "TIME" && old.dateTime === made.dateTime) &&
      !(["INPUT", "SELECT"].includes(old.nodeName) && old.type !== "hidden"),
    beforeAttributeUpdated: (name, node) => !(name === "open" && node.nodeName === "DETAILS"),
  };
  function show(text) {
    const made = new DOMParser().parseFromString(text, "text/html");
    for (const id of ["top", "main"]) {
      const [old, next] = [document.getElementById(id), made.getElementById(id)];
      if (old && next) {
        Idiomorph.morph(old, next, { morphStyle: "outerHTML", ignoreActiveValue: true, callbacks });
      }
    }
    document.title = made.title;
    const [icon, next] = [document, made].map((each) => each.querySelector("link[rel=icon]"));
    if (icon && next && icon.getAttribute("href") !== next.getAttribute("href")) {
      icon.href = next.getAttribute("href");
    }
    tellTimes();
  }

  async function refresh() {
    if (running) { wanted = true; return; }
    running = true;
    wanted = false;
    clearTimeout(timer);
    timer = 0;
    last = Date.now();
    try {
      const answer = await fetch(location.href, { cache: "no-cache", signal: AbortSignal.timeout(20000) });
      const text = await answer.text();
      // Errors are pages as well: a plugin may be gone. But 429 and 503 are answers for later.
      if (answer.status === 429 || answer.status >= 500) throw new Error(String(answer.status));
      if (answer.redirected) { location.replace(answer.url); return; }
      heard = Date.now();
      const ahead = Date.parse(answer.headers.get("Date")) - heard;
      offset = Math.abs(ahead) > 5000 ? ahead : 0; // NaN, where a proxy drops it, counts as none
      const now = answer.headers.get("ETag");
      if (!now || now !== tag) show(text);
      tag = now;
      tell(isStreamed() ? "stream" : "poll");
    } catch {
      isTold = 0;
      tell("lost");
    } finally {
      running = false;
    }
    if (wanted) soon();
  }
  // The first change is shown at once, further ones at most once a second.
  function soon() {
    if (timer || document.hidden) return;
    timer = setTimeout(() => { timer = 0; refresh(); }, Math.max(0, last + CALM - Date.now()));
  }

  // One stream for all tabs of the browser: the tab that holds the lock has it, and tells the others.
  let source = null;
  let isTold = 0; // when the stream was last heard, here or by way of another tab
  let release = null;
  let again = 0;
  const isStreamed = () =>
    (source && source.readyState === EventSource.OPEN) || Date.now() - isTold < SILENCE;
  function open() {
    again = 0;
    if (source || document.hidden || !release) return;
    const stream = new EventSource(`${root}events`);
    source = stream;
    stream.addEventListener("change", () => { streamed(); channel.postMessage("change"); soon(); });
    stream.addEventListener("open", () => { streamed(); channel.postMessage("open"); refresh(); });
    stream.addEventListener("alive", () => { streamed(); channel.postMessage("alive"); });
    stream.addEventListener("error", () => {
      if (stream.readyState === EventSource.CLOSED) { // refused: the browser does not try again
        source = null;
        again = setTimeout(open, RETRY * (1 + Math.random()));
      }
      ended();
      channel.postMessage("ended");
    });
  }
  function streamed() {
    isTold = Date.now();
    tell("stream");
  }
  function ended() {
    isTold = 0;
    refresh(); // which tells whether the server is lost, or only the stream
  }
  function close() {
    clearTimeout(again);
    again = 0;
    if (source) source.close();
    source = null;
    if (release) release();
    release = null;
  }
  let asking = null;
  function begin() {
    if (release) open();
    if (asking || release) return;
    if (!navigator.locks) { // as on plain HTTP: each tab that is seen has a stream of its own
      release = () => {};
      open();
      return;
    }
    channel.postMessage("ask"); // whether another tab has the stream
    asking = new AbortController();
    navigator.locks
      .request("plugind-stream", { signal: asking.signal }, () =>
        new Promise((resolve) => { release = resolve; open(); }))
      .catch(() => {});
  }
  function end() {
    if (asking) asking.abort();
    asking = null;
    close();
  }
  channel.addEventListener("message", (event) => {
    if (event.data === "ask") {
      if (source && source.readyState === EventSource.OPEN) channel.postMessage("alive");
      return;
    }
    if (document.hidden) return;
    if (event.data === "ended") { ended(); return; }
    streamed();
    if (event.data !== "alive") soon();
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      end();
    } else {
      begin();
      refresh();
    }
  });
  // Without a stream, own or another tab's, the page is asked for again and again.
  setInterval(() => {
    if (document.hidden) return;
    if (!isStreamed() || Date.now() - last > STALE) refresh();
  }, POLL);
  setInterval(tellTimes, 1000);

  tellTimes();
  tell("poll");
  begin();
  refresh();
})();
