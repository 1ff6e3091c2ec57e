// Which view is shown: the part of the address after `#` says it.

import { setToken, token } from "./api.js";
import { h } from "./dom.js";
import * as log from "./log.js";
import * as overview from "./overview.js";
import * as tokens from "./token.js";
import * as workflow from "./workflow.js";

const main = document.getElementById("main");
const forget = document.getElementById("forget");
let shown = { view: undefined, place: undefined, close: undefined };

/** The view and its parameters that an address stands for. */
function route(hash) {
  let parts;
  try {
    parts = hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return { view: undefined };
  }
  if (parts.length === 1 && parts[0] === "") return { view: overview, place: "" };
  if (parts[0] !== "workflows" || !parts[1]) return { view: undefined };
  if (parts.length === 2) return { view: workflow, place: parts[1], workflow: parts[1] };
  const isLog = parts[2] === "steps" && parts[3] && parts[4] === "log" && parts.length <= 6;
  const line = /^L([1-9][0-9]{0,14})$/.exec(parts[5] ?? "");
  if (!isLog || (parts.length === 6 && !line)) return { view: undefined };
  return { view: log, place: `${parts[1]}/${parts[3]}`, workflow: parts[1], step: parts[3], line: line ? Number(line[1]) : undefined };
}

function show() {
  if (location.hash === "#main") return;
  const wanted = route(location.hash);
  // Another line of the same log: the view stays.
  if (shown.view === wanted.view && shown.place === wanted.place && shown.update) return shown.update(wanted);
  shown.close?.();
  main.replaceChildren();
  main.className = "";
  document.title = "piculet";
  forget.hidden = token() === undefined;
  shown = { ...wanted };
  if (!wanted.view) {
    main.append(h("section", { class: "panel notice" }, h("h1", {}, "There is nothing here"), h("p", {}, h("a", { href: "#/" }, "Back to the overview"))));
    return;
  }
  Object.assign(shown, wanted.view.open(main, wanted));
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

window.addEventListener("hashchange", show);
window.addEventListener("token-needed", (event) => {
  if (shown.view === tokens) return;
  shown.close?.();
  const given = token() !== undefined;
  setToken(undefined);
  forget.hidden = true;
  shown = { view: tokens };
  main.replaceChildren();
  main.className = "";
  Object.assign(shown, tokens.open(main, { message: given ? event.detail.message : undefined, done: show }));
});
forget.addEventListener("click", () => {
  setToken(undefined);
  location.hash = "#/";
  location.reload();
});
show();
