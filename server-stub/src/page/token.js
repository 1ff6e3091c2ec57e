// Asks for the token of the API.

import { get, setToken } from "./api.js";
import { h } from "./dom.js";

/** Asks until the server accepts one; then `done`. */
export function open(main, { message, done }) {
  document.title = "Token · piculet";
  const problem = h("p", { class: "problem", role: "alert", id: "token-problem" }, message ? refusal(message) : "");
  const input = h("input", { id: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false", "aria-describedby": "token-problem" });
  const submit = async (event) => {
    event.preventDefault();
    problem.textContent = "";
    const text = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(text)) {
      problem.textContent = "A token is one word of ASCII characters.";
      return;
    }
    setToken(text);
    try {
      await get("api/agents");
      done();
    } catch (error) {
      setToken(undefined);
      problem.textContent = error.status === 401 ? refusal(error.message) : error.message;
      input.select();
    }
  };
  main.append(
    h("section", { class: "panel token" },
      h("h1", {}, "This server asks for a token"),
      h("p", { class: "muted" }, "It is the one in the file that the server was started with (", h("code", {}, "--api-token-file"), "). This tab keeps it until it is closed."),
      h("form", { onsubmit: submit }, h("label", { for: "token" }, "Token"), h("div", { class: "row" }, input, h("button", { class: "primary" }, "Go on")), problem)));
  input.focus();
  return {};
}

function refusal(message) {
  return `The server does not accept this token: ${message}.`;
}
