// Times: how long, how long ago, and exactly when on hover.

import { h } from "./dom.js";

let ahead = 0;

/** The server's clock says this; the browser's own may be wrong. */
export function setServerTime(text) {
  const time = Date.parse(text);
  // The header has whole seconds.
  if (!Number.isNaN(time) && Math.abs(time - Date.now()) > 2000) ahead = time - Date.now();
}

/** Now, by the server's clock, in milliseconds. */
export function now() {
  return Date.now() + ahead;
}

/** A length of time for people. */
export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < 950) return `${Math.round(ms / 100) / 10} s`;
  const seconds = Math.round(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes / 60) % 24} h`;
}

/** A moment, exactly. */
export function exactly(time) {
  const date = new Date(time);
  const zone = { timeZoneName: "short", dateStyle: undefined };
  const text = date.toLocaleString(undefined, { year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, ...zone });
  return `${text} (${date.toISOString()})`;
}

/** The time of day, with milliseconds. */
export function timeOfDay(time) {
  const date = new Date(time);
  const two = (number, digits = 2) => String(number).padStart(digits, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${two(date.getMilliseconds(), 3)}`;
}

function words(element) {
  const passed = now() - Date.parse(element.dateTime);
  if (element.dataset.says === "since") return duration(passed);
  if (passed < 5000) return "just now";
  if (passed < 60_000) return `${Math.floor(passed / 1000)} s ago`;
  if (passed < 3_600_000) return `${Math.floor(passed / 60_000)} min ago`;
  if (passed < 86_400_000) return `${Math.floor(passed / 3_600_000)} h ago`;
  return `${Math.floor(passed / 86_400_000)} d ago`;
}

function ticking(time, says) {
  const element = h("time", { datetime: time, title: exactly(time), "data-says": says });
  element.textContent = words(element);
  return element;
}

/** How long ago that was; stays true. */
export const ago = (time) => ticking(time, "ago");

/** How long it has been going on; stays true. */
export const since = (time) => ticking(time, "since");

/** How long something took, or takes up to now. */
export function took(started, finished) {
  if (!started) return undefined;
  if (!finished) return since(started);
  const ms = Date.parse(finished) - Date.parse(started);
  return h("span", { title: `${exactly(started)} to ${exactly(finished)}` }, duration(ms));
}

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-says]")) {
    const text = words(element);
    if (element.textContent !== text) element.textContent = text;
  }
}, 1000);
