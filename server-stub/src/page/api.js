// Calls of the HTTP API. The token is kept for this tab only.

import { setServerTime } from "./time.js";

const TOKEN = "piculet-token";

/** A call that was refused, or didn't come through. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let memory;

/** The token, if one was given. */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN) ?? memory;
  } catch {
    return memory;
  }
}

/** Keeps a token, or forgets it. */
export function setToken(text) {
  memory = text;
  try {
    if (text === undefined) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, text);
  } catch {
    // A browser that stores nothing: the token lasts until the page is loaded anew.
  }
}

/** A part of a path, whatever is in it. */
export const part = encodeURIComponent;

/** Calls; throws if the answer is no success. */
export async function call(path, options = {}) {
  const headers = new Headers(options.headers);
  if (token() !== undefined) headers.set("authorization", `Bearer ${token()}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server can't be reached.");
  }
  if (response.headers.has("date")) setServerTime(response.headers.get("date"));
  if (response.ok) return response;
  let said;
  try {
    said = await response.json();
  } catch {
    said = {};
  }
  const code = typeof said.code === "string" ? said.code : "foreign-answer";
  const message = typeof said.message === "string" ? said.message : `The answer was ${response.status}, and not one of a piculet-server.`;
  const error = new ApiError(response.status, code, message);
  if (response.status === 401) window.dispatchEvent(new CustomEvent("token-needed", { detail: error }));
  throw error;
}

/** Asks for JSON. */
export async function get(path, signal) {
  return (await call(path, { signal })).json();
}

/** Tells. */
export async function post(path, body) {
  const headers = { "content-type": "application/json" };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}
