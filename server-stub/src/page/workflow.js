// One workflow: where it stands, its steps as a graph, along time, and as a table.

import { get, part, post } from "./api.js";
import { h, refresh } from "./dom.js";
import { graph } from "./graph.js";
import { chips } from "./overview.js";
import { badge, isFinal, workflowWord } from "./states.js";
import { follow, pause } from "./stream.js";
import { timeline } from "./timeline.js";
import { ago, duration, took } from "./time.js";

/** A tick may bring many events; the workflow is asked for this often at most. */
const AT_MOST = 300;

/** The address of a step's log. */
export function logAddress(workflow, step) {
  return `#/workflows/${workflow.number}/steps/${part(step.name)}/log`;
}

/** Shows a workflow until it is closed. */
export function open(main, { workflow: name }) {
  const closing = new AbortController();
  const { signal } = closing;
  const path = `api/workflows/${part(name)}`;
  const places = Object.fromEntries(["head", "graph", "timeline", "steps"].map((id) => [id, h("div", { id })]));
  const head = h("section", { class: "panel", "aria-label": "The workflow" }, places.head);
  main.append(head);
  let timer;

  function show(workflow) {
    document.title = `${workflow.state} · ${workflow.name} #${workflow.number} · piculet`;
    if (!places.graph.isConnected) {
      main.append(panel("Graph", places.graph), panel("Time line", places.timeline), panel("Steps", places.steps));
    }
    refresh(places.head, workflow, (workflow) => header(workflow, () => update().catch(fail)));
    refresh(places.graph, workflow.steps, () => graph(workflow));
    refresh(places.timeline, workflow, timeline);
    refresh(places.steps, workflow.steps, () => table(workflow));
    clearInterval(timer);
    if (workflow.state === "running") timer = setInterval(() => document.hidden || places.timeline.replaceChildren(timeline(workflow)), 1000);
  }

  async function update() {
    const workflow = await get(path, signal);
    if (!signal.aborted) show(workflow);
    return workflow;
  }

  function fail(error) {
    if (signal.aborted || error.name === "AbortError" || error.status === 0) return;
    main.replaceChildren(h("section", { class: "panel notice" }, h("h1", {}, error.status === 404 ? "There is no such workflow" : "The workflow can't be shown"), h("p", {}, error.message), h("p", {}, h("a", { href: "#/" }, "Back to the overview"))));
    closing.abort();
  }

  async function run() {
    let stale = true;
    const following = follow(`${path}/events?lines=false`, signal, () => { stale = true; }, fail);
    for (let isOver = false; !isOver && !signal.aborted; await pause(AT_MOST, signal)) {
      if (!stale || document.hidden) continue;
      stale = false;
      try {
        isOver = isFinal((await update()).state);
      } catch (error) {
        fail(error);
        stale = true;
      }
    }
    await following;
  }

  run();
  return {
    close: () => {
      closing.abort();
      clearInterval(timer);
      document.querySelector("dialog")?.remove();
    },
  };
}

function panel(title, content) {
  return h("section", { class: "panel", "aria-labelledby": `${content.id}-title` }, h("div", { class: "head" }, h("h2", { id: `${content.id}-title` }, title)), content);
}

function header(workflow, changed) {
  const facts = [
    ["Submitted", ago(workflow.created)],
    ["Waited", workflow.started || workflow.state === "pending" ? took(workflow.created, workflow.started ?? workflow.finished) : undefined],
    ["Ran", workflow.started && took(workflow.started, workflow.finished)],
    ["Agent", workflow.agent],
    ["Assignments", workflow.epoch > 1 ? String(workflow.epoch) : undefined],
  ].filter(([, value]) => value !== undefined && value !== null);
  return [
    h("nav", { "aria-label": "Where this is", class: "crumbs" }, h("a", { href: "#/" }, "Overview"), h("span", { "aria-hidden": "true" }, " / "), `#${workflow.number}`),
    h("div", { class: "head wrap" },
      h("div", { class: "row tight wrap" }, h("h1", {}, workflow.name, " ", h("span", { class: "muted figure" }, `#${workflow.number}`)), badge(workflow.state, workflowWord(workflow))),
      !isFinal(workflow.state) && h("button", { type: "button", class: "danger", id: "cancel", "data-key": "cancel", onclick: () => confirmCancel(workflow, changed) }, "Cancel")),
    h("dl", { class: "facts" }, facts.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value)))),
    chips(workflow.labels),
    workflow.stopping && !isFinal(workflow.state) && h("p", { class: "note warn" }, `It is to be stopped: ${workflow.stopping}`),
    workflow.error && h("p", { class: "note problem", id: "error" }, workflow.error),
    workflow.waiting.length > 0 && h("div", { class: "note" }, "It waits:", h("ul", { class: "reasons" }, workflow.waiting.map((reason) => h("li", {}, reason)))),
  ].filter(Boolean);
}

function confirmCancel(workflow, changed) {
  const problem = h("p", { class: "problem", role: "alert" });
  const close = () => { dialog.close(); dialog.remove(); };
  const cancel = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      await post(`api/workflows/${part(workflow.id)}/cancel`, { reason: reason.value.trim() || "somebody cancelled it on the web page" });
      close();
      changed();
    } catch (error) {
      problem.textContent = error.message;
      yes.disabled = false;
    }
  };
  const reason = h("input", { id: "reason", placeholder: "Why (shown with the workflow)", maxlength: 200, "aria-label": "Why" });
  const yes = h("button", { class: "danger", id: "cancel-yes" }, "Cancel the workflow");
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" },
    h("h2", { id: "dialog-title" }, `Cancel ${workflow.name} #${workflow.number}?`),
    h("p", {}, "Steps that run get SIGTERM, and are killed when their grace is over. What they printed is kept."),
    h("form", { onsubmit: cancel }, reason, problem, h("div", { class: "row end" }, h("button", { type: "button", class: "quiet", onclick: close }, "Let it run"), yes)));
  dialog.addEventListener("cancel", close);
  document.body.append(dialog);
  dialog.showModal();
}

function table(workflow) {
  const row = (step) => h("tr", {},
    h("td", {}, badge(step.state)),
    h("th", { scope: "row" }, h("a", { href: logAddress(workflow, step), "data-key": `step-${step.id}` }, step.name), step.kind !== "commands" && h("span", { class: "kind" }, step.kind)),
    h("td", { class: "figure" }, step.exit_code ?? "–"),
    h("td", { class: "figure" }, step.started ? took(step.started, step.finished) : "–"),
    h("td", { class: "figure" }, step.log_lines.toLocaleString()),
    h("td", { class: "remark" }, [step.attempt > 1 && `Attempt ${step.attempt}.`, step.error, step.log_complaint].filter(Boolean).map((text) => h("p", {}, text))));
  return h("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Steps, as a table" },
    h("table", {}, h("thead", {}, h("tr", {}, ["State", "Step", "Exit", "Took", "Lines", "Remark"].map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, workflow.steps.map(row))));
}

/** The length of a step for a label, or nothing. */
export function stepTook(step, now) {
  if (!step.started) return "";
  return duration((step.finished ? Date.parse(step.finished) : now) - Date.parse(step.started));
}
