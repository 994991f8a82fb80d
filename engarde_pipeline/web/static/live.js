// Live updates: listens to the server's events, and dispatches `engarde:changed` on the body when numbers of the tenant
// may have changed. Its detail has the table and the dates, or nothing if any of them may have changed. Elements with
// hx-trigger="engarde:changed from:body" then read their part of the page again.
//
// data-live-start and data-live-end of an element are the dates of the page; without them, the server takes the last 30.
"use strict";

(() => {
  const MAX_DAYS = 399; // the server refuses dates that are older
  const FIRST_DELAY = 1000;
  const LONGEST_DELAY = 30000;
  const HIDDEN_FOR = 60000; // a tab that is hidden for so long lets go of its connection
  const ANNOUNCED_AFTER = 5000; // an interruption that is shorter is not read out
  const SPREAD = 200;
  const SHORTEST_PAUSE = 1000;
  const SLOW_START = 3000; // changes between the page and the stream are unlikely in less time

  const shown = document.querySelector("[data-live-status]");
  const announced = document.querySelector("[data-live-announced]");
  if (!shown || !window.EventSource) return;

  let source = null;
  let pending = null;
  let lastChange = -Infinity;
  let delay = FIRST_DELAY;
  let mustReread = performance.now() > SLOW_START;
  let retry, hide, announcement;
  let lastAnnounced = "Live";

  function address() {
    const range = document.querySelector("[data-live-start]");
    const query = new URLSearchParams();
    if (range) {
      const oldest = new Date(Date.now() - MAX_DAYS * 86400000).toISOString().slice(0, 10);
      const { liveStart, liveEnd } = range.dataset;
      if (liveEnd && liveEnd < oldest) return null; // nothing of it changes
      query.set("start_date", liveStart > oldest ? liveStart : oldest);
      if (liveEnd) query.set("end_date", liveEnd);
    }
    return `/api/campaign-performance/live?${query}`;
  }

  function say(state, text) {
    shown.dataset.liveStatus = state;
    shown.hidden = false;
    if (state === "expired") {
      const login = document.createElement("a");
      login.href = `/login?next=${encodeURIComponent(location.pathname + location.search)}`;
      login.textContent = text;
      shown.replaceChildren(login);
    } else {
      shown.textContent = text;
    }
    clearTimeout(announcement);
    announcement = setTimeout(() => {
      if (text === lastAnnounced || !announced) return;
      lastAnnounced = announced.textContent = text;
    }, state === "waiting" ? ANNOUNCED_AFTER : 0);
  }

  // At most once a second, because a backfill changes dates faster than a page can be read again; and not at the same
  // instant as everyone else who looks at these numbers.
  function changed(detail) {
    if (pending) {
      pending.detail = {};
      return;
    }
    pending = { detail };
    const wait = Math.max(Math.random() * SPREAD, lastChange + SHORTEST_PAUSE - performance.now());
    setTimeout(() => {
      const event = new CustomEvent("engarde:changed", { bubbles: true, detail: pending.detail });
      pending = null;
      lastChange = performance.now();
      document.body.dispatchEvent(event);
    }, wait);
  }

  function close() {
    clearTimeout(retry);
    if (source) source.close();
    source = null;
  }

  function open() {
    close();
    const url = address();
    if (!url) return;
    source = new EventSource(url);
    source.onopen = () => {
      delay = FIRST_DELAY;
      say("live", "Live");
      if (mustReread) changed({});
      mustReread = true; // whatever opens the stream again has missed something
    };
    source.addEventListener("changed", (event) => changed(JSON.parse(event.data)));
    source.addEventListener("resync", () => changed({}));
    source.onerror = interrupted;
  }

  // EventSource does not say why a stream has ended, so the server is asked whether the session is valid.
  async function interrupted() {
    close();
    mustReread = true;
    say("waiting", "Reconnecting …");
    try {
      const answer = await fetch("/session", { headers: { "HX-Request": "true" }, cache: "no-store" });
      if (answer.status === 401) {
        say("expired", "Log in again");
        return;
      }
    } catch {
      // The server cannot be reached.
    }
    if (source) return; // the tab was shown again meanwhile
    clearTimeout(retry);
    retry = setTimeout(open, delay * (0.75 + Math.random() / 2));
    delay = Math.min(2 * delay, LONGEST_DELAY);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(hide);
    if (document.hidden) hide = setTimeout(close, HIDDEN_FOR);
    else if (!source) open();
  });
  // A page that the browser keeps for the back button must not hold a connection.
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });

  // What is replaced every second is not read out; an element with data-announce has the text that is, if it is new.
  document.body.addEventListener("htmx:afterSettle", () => {
    const element = document.querySelector("[data-announce]");
    if (!element || !announced || element.dataset.announce === lastAnnounced) return;
    lastAnnounced = announced.textContent = element.dataset.announce;
  });

  if (document.hidden) mustReread = true;
  else open();
})();
