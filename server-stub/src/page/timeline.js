// The steps of a workflow along time. Places are percentages: the picture is as wide as there is room.

import { h, svg } from "./dom.js";
import { duration, exactly, now } from "./time.js";
import { logAddress, stepTook } from "./workflow.js";

const ROUND = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
const TICKS = 5;

/** The time line of a workflow. */
export function timeline(workflow) {
  const moment = (text) => (text ? Date.parse(text) : undefined);
  const starts = workflow.steps.map((step) => moment(step.started)).filter((time) => time !== undefined);
  const ends = workflow.steps.map((step) => moment(step.finished)).filter((time) => time !== undefined);
  const begin = Math.min(moment(workflow.created), ...starts);
  const isOver = workflow.finished !== null && workflow.finished !== undefined;
  // Clocks of nodes and of the server may differ: everything has to be inside.
  const end = Math.max(...ends, ...starts, isOver ? moment(workflow.finished) : now(), begin + 1000);
  const x = (time) => `${(((time - begin) / (end - begin)) * 100).toFixed(3)}%`;
  const wide = (from, to) => `${(Math.max(0, (to - from) / (end - begin)) * 100).toFixed(3)}%`;

  const seconds = (end - begin) / 1000;
  const every = ROUND.find((step) => seconds / step <= TICKS) ?? Math.ceil(seconds / TICKS / 86400) * 86400;
  const ticks = [];
  for (let at = 0; at <= seconds; at += every) ticks.push(at);
  const lines = () => ticks.map((at) => svg("line", { x1: x(begin + at * 1000), x2: x(begin + at * 1000), y1: 0, y2: "100%", class: "tick" }));
  const track = (...shapes) => svg("svg", { class: "track", width: "100%", height: 24, "aria-hidden": "true" }, lines(), shapes);

  const started = starts.length > 0 ? Math.min(...starts) : isOver ? end : now();
  const queue = h("li", {},
    h("span", { class: "what muted" }, "queue"),
    track(svg("rect", { x: x(begin), y: 8, width: wide(begin, started), height: 8, rx: 4, class: "bar queue" }, svg("title", {}, `waited ${duration(started - begin)}`))),
    h("span", { class: "figure muted" }, duration(started - begin)));
  const row = (step) => {
    const from = moment(step.started);
    const to = moment(step.finished) ?? (step.state === "running" ? now() : from);
    const took = stepTook(step, now());
    const bar = from === undefined ? [] : [svg("rect", { x: x(from), y: 5, width: wide(from, to), height: 14, rx: 4, class: `bar ${step.state}`, "data-step": step.name }, svg("title", {}, `${step.name}: ${step.state}, ${took}, from ${exactly(from)}`))];
    return h("li", {},
      h("a", { class: "what", href: logAddress(workflow, step), title: step.name, "aria-label": `${step.name}: ${step.state}${took && `, ${took}`}` }, step.name),
      track(...bar),
      h("span", { class: "figure muted" }, took || step.state));
  };
  const axis = h("li", { class: "axis", "aria-hidden": "true" }, h("span", {}),
    svg("svg", { class: "track", width: "100%", height: 18 }, ticks.map((at, index) => svg("text", { x: x(begin + at * 1000), y: 13, "text-anchor": index === 0 ? "start" : seconds - at < every / 4 ? "end" : "middle" }, at === 0 ? "0" : duration(at * 1000).replace(/ 00 (s|min)$/, "")))),
    h("span", {}));
  return h("ol", { class: "plain timeline", "aria-label": "Steps, along time" }, queue, workflow.steps.map(row), axis);
}
