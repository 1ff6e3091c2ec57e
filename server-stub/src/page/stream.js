// Things that go on: server-sent events over fetch (EventSource can't send a token), and polling. Both rest while
// nobody looks at the page.

import { call } from "./api.js";

const PATIENCE = [1000, 2000, 4000, 8000];

/** Waits until the page is looked at. */
function visible(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      signal.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look);
    look();
  });
}

/** Waits; less if the signal comes. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

/** The status line at the top: whether the server answers. */
export function setStatus(text) {
  const place = document.getElementById("status");
  if (place.textContent !== text) place.textContent = text;
}

/** Events of a body, one by one. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    let start = 0;
    for (let end; (end = rest.indexOf("\n\n", start)) >= 0; start = end + 2) {
      const event = { name: "message", id: undefined, data: [] };
      for (const line of rest.slice(start, end).split("\n")) {
        const colon = line.indexOf(":");
        const value = line.slice(colon + 1).replace(/^ /, "");
        if (line.startsWith("event:")) event.name = value;
        else if (line.startsWith("id:")) event.id = value;
        else if (line.startsWith("data:")) event.data.push(value);
      }
      if (event.data.length > 0) yield { ...event, data: JSON.parse(event.data.join("\n")) };
    }
    rest = rest.slice(start);
  }
}

/**
 * Follows a stream of events until its `end`, however often the connection breaks. `tell` gets each event; `fail` gets
 * the error after which there is no sense in going on.
 */
export async function follow(path, signal, tell, fail) {
  let last;
  let failures = 0;
  while (!signal.aborted) {
    await visible(signal);
    const connection = new AbortController();
    const hang = () => connection.abort();
    const hide = () => document.hidden && hang();
    signal.addEventListener("abort", hang);
    document.addEventListener("visibilitychange", hide);
    try {
      const headers = last === undefined ? {} : { "last-event-id": last };
      const response = await call(path, { headers, signal: connection.signal });
      if (response.status === 204) return;
      setStatus("");
      for await (const event of events(response.body)) {
        failures = 0;
        if (event.id !== undefined) last = event.id;
        tell(event);
        if (event.name === "end") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error.status >= 400 && error.status < 500) return fail(error);
      if (!document.hidden && error.name !== "AbortError") setStatus("The server can't be reached; trying again …");
    } finally {
      hang();
      signal.removeEventListener("abort", hang);
      document.removeEventListener("visibilitychange", hide);
    }
    if (!document.hidden) await pause(PATIENCE[Math.min(failures++, PATIENCE.length - 1)], signal);
  }
}

/** Asks again and again. */
export async function poll(period, signal, ask, fail) {
  while (!signal.aborted) {
    await visible(signal);
    try {
      await ask();
      setStatus("");
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (!(error.status === 0 || error.status >= 500)) return fail(error);
      setStatus("The server can't be reached; trying again …");
    }
    await pause(period, signal);
  }
}
