// Clusters and their agents, the queue, what runs, what ran.

import { get, part } from "./api.js";
import { h, refresh } from "./dom.js";
import { poll } from "./stream.js";
import { badge, isFinal, sign, workflowWord } from "./states.js";
import { ago, since, took } from "./time.js";

const PERIOD = 2000;
const RECENT = 20;
const OPEN = 200;
const FINAL = ["success", "failure", "killed", "skipped", "canceled"];
const REASONS = 2;

/** Shows the overview until it is closed. */
export function open(main) {
  const closing = new AbortController();
  const { signal } = closing;
  const filter = { name: "", state: "", pages: 1 };
  const places = Object.fromEntries(["tiles", "clusters", "queue", "running", "recent"].map((name) => [name, h("div", { id: name })]));
  const again = () => update().catch(() => {});
  const search = h("input", { type: "search", placeholder: "Name", "aria-label": "Only workflows whose name contains", oninput: () => { filter.name = search.value.trim(); again(); } });
  const select = h("select", { "aria-label": "Only workflows in the state", onchange: () => { filter.state = select.value; again(); } }, h("option", { value: "" }, "any end"), FINAL.map((state) => h("option", { value: state }, state)));
  main.append(
    h("h1", { class: "visually-hidden" }, "Overview"),
    places.tiles,
    section("Clusters", "clusters-title", places.clusters),
    h("div", { class: "columns" }, section("Waiting", "queue-title", places.queue), section("Running", "running-title", places.running)),
    section("Recent", "recent-title", places.recent, h("div", { class: "row tools" }, search, select)));

  async function pages() {
    const states = (filter.state ? [filter.state] : FINAL).map((state) => `&state=${state}`).join("");
    const workflows = [];
    let next;
    for (let page = 0; page < filter.pages; page++) {
      const before = next ? `&before=${next}` : "";
      const list = await get(`api/workflows?order=newest&limit=${RECENT}&name=${part(filter.name)}${states}${before}`, signal);
      workflows.push(...list.workflows);
      next = list.next;
      if (!next) break;
    }
    return { workflows, next };
  }

  async function update() {
    const [{ agents }, known, queue, running, recent] = await Promise.all([
      get("api/agents", signal),
      get("api/clusters", signal),
      get(`api/workflows?state=pending&limit=${OPEN}`, signal),
      get(`api/workflows?state=running&limit=${OPEN}`, signal),
      pages(),
    ]);
    refresh(places.tiles, { agents, queue: count(queue), running: count(running) }, tiles);
    refresh(places.clusters, { agents, known: known.clusters }, clusters);
    refresh(places.queue, queue, (list) => rows(list, waitingRow, "Nothing waits."));
    refresh(places.running, running, (list) => rows(list, runningRow, "Nothing runs."));
    refresh(places.recent, recent, (list) => [
      rows(list, recentRow, filter.name || filter.state ? "No workflow is like that." : "Nothing has ended yet."),
      list.next && h("button", { type: "button", class: "quiet more", "data-key": "older", onclick: () => { filter.pages++; again(); } }, "Show older ones"),
    ].filter(Boolean));
  }

  poll(PERIOD, signal, update, (error) => main.replaceChildren(h("section", { class: "panel notice" }, h("h1", {}, "The overview can't be shown"), h("p", {}, error.message))));
  return { close: () => closing.abort() };
}

function section(title, id, content, tools) {
  return h("section", { class: "panel", "aria-labelledby": id }, h("div", { class: "head" }, h("h2", { id }, title), tools), content);
}

function count(list) {
  return `${list.workflows.length}${list.next ? "+" : ""}`;
}

function tiles({ agents, queue, running }) {
  const there = agents.filter((agent) => agent.state === "connected");
  const sum = (key) => there.reduce((total, agent) => total + agent[key], 0);
  const tile = (number, words) => h("div", { class: "tile" }, h("strong", {}, String(number)), h("span", {}, words));
  return h("div", { class: "tiles" },
    tile(running, "running"), tile(queue, "waiting"),
    tile(`${sum("free_slots")} / ${sum("capacity")}`, "slots free"),
    tile(`${there.length} / ${agents.length}`, agents.length === 1 ? "agent connected" : "agents connected"));
}

function clusters({ agents, known }) {
  if (known.length === 0) return h("p", { class: "empty" }, "No agent has connected yet. Workflows wait until one does.");
  return h("div", { class: "cards" }, known.map((one) => cluster(one, agents.filter((agent) => agent.cluster === one.name))));
}

function cluster(known, agents) {
  return h("article", { class: "card cluster" },
    h("div", { class: "head" },
      h("h3", {}, known.name),
      // That all is well is said of each agent.
      known.state === "draining" || known.state === "lost" ? badge(known.state) : h("span", { class: "muted" }, known.version)),
    agents.length === 0 && h("p", { class: "empty" }, "None of its agents was here lately."),
    h("ul", { class: "plain" }, agents.map(agentRow)));
}

function agentRow(agent) {
  const used = agent.workflows.length;
  const full = agent.capacity > 0 ? Math.min(100, (100 * used) / agent.capacity) : 0;
  const slots = `${agent.free_slots} of ${agent.capacity} slots free`;
  return h("li", { class: "agent" },
    h("div", { class: "head" }, h("span", { class: "name" }, agent.name), badge(agent.state)),
    h("div", { class: "row" },
      h("div", { class: "meter", role: "img", "aria-label": `${used} of ${agent.capacity} slots in use` }, h("div", { style: { width: `${full}%` } })),
      h("span", { class: "muted figure" }, agent.state === "connected" ? slots : `${used} of ${agent.capacity} in use`)),
    chips(agent.labels, agent.platforms),
    h("div", { class: "muted small" }, `version ${agent.version || "unknown"}`));
}

/** Labels, as chips. */
export function chips(labels, more = []) {
  const all = [...Object.entries(labels).map(([key, value]) => `${key}=${value}`), ...more];
  return all.length > 0 && h("ul", { class: "chips", "aria-label": "Labels" }, all.map((text) => h("li", {}, text)));
}

function rows(list, row, empty) {
  if (list.workflows.length === 0) return h("p", { class: "empty" }, empty);
  return h("ul", { class: "plain rows" }, list.workflows.map((workflow) => h("li", { class: "workflow" }, row(workflow))),
    list.next && row !== recentRow && h("li", { class: "muted" }, "and more"));
}

function title(workflow) {
  return h("a", { class: "title", href: `#/workflows/${workflow.number}`, "data-key": `workflow-${workflow.number}` },
    h("span", { class: "muted figure" }, `#${workflow.number}`), " ", workflow.name);
}

function waitingRow(workflow) {
  const reasons = workflow.waiting.length > 0 ? workflow.waiting : [workflow.place === "pending" ? "no agent is connected" : "an agent was asked to take it"];
  const list = (some) => h("ul", { class: "reasons" }, some.map((reason) => h("li", {}, reason)));
  return [
    h("div", { class: "head" }, title(workflow), h("span", { class: "muted" }, since(workflow.created))),
    chips(workflow.labels),
    list(reasons.slice(0, REASONS)),
    reasons.length > REASONS && h("details", { "data-key": `reasons-${workflow.number}` }, h("summary", {}, reasons.length === REASONS + 1 ? "1 more reason" : `${reasons.length - REASONS} more reasons`), list(reasons.slice(REASONS))),
  ];
}

/** The steps of a workflow in one line: a sign each. */
function strip(workflow) {
  const done = workflow.steps.filter((step) => isFinal(step.state)).length;
  const signs = workflow.steps.slice(0, 30).map((step) => h("span", { title: `${step.name}: ${step.state}` }, sign(step.state, 14)));
  return h("span", { class: "strip", role: "img", "aria-label": `${done} of ${workflow.steps.length} steps are over` }, signs,
    workflow.steps.length > 30 && h("span", { class: "muted" }, `+${workflow.steps.length - 30}`));
}

function runningRow(workflow) {
  return [
    h("div", { class: "head" }, h("span", { class: "row tight" }, sign("running"), title(workflow)), h("span", { class: "muted" }, took(workflow.started, undefined) ?? "starts")),
    h("div", { class: "head" }, strip(workflow), h("span", { class: "muted" }, workflow.agent ?? "")),
    (workflow.place === "away" || workflow.stopping) && h("p", { class: "small warn" }, workflowWord(workflow), workflow.stopping && `: ${workflow.stopping}`),
  ];
}

function recentRow(workflow) {
  return [
    h("div", { class: "head" }, h("span", { class: "row tight" }, badge(workflow.state), title(workflow)), h("span", { class: "muted" }, workflow.finished && ago(workflow.finished))),
    h("div", { class: "head" }, strip(workflow), h("span", { class: "muted" }, took(workflow.started, workflow.finished))),
    workflow.error && h("p", { class: "small error-line" }, workflow.error.split("\n")[0]),
  ];
}
