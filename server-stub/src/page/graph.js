// The steps of a workflow as a graph: what waits for what, from left to right.

import { h, svg } from "./dom.js";
import { sign } from "./states.js";
import { now } from "./time.js";
import { logAddress, stepTook } from "./workflow.js";

const NODE = { width: 188, height: 46 };
const GAP = { x: 52, y: 14 };
const MARGIN = 6;
/** The room for a line that passes a column. */
const LANE = 10;
const NAME = 20;

/** What a step waits for, by name. One that names nothing waits for all earlier stages. */
function waiting(steps) {
  const earlier = (step) => steps.filter((other) => other.stage < step.stage).map((other) => other.name);
  return (step) => step.needs ?? earlier(step);
}

/** Each step's column: one more than that of what it waits for. */
export function columns(steps) {
  const byName = new Map(steps.map((step) => [step.name, step]));
  const needsOf = waiting(steps);
  const found = new Map();
  const column = (step, above) => {
    if (found.has(step.name)) return found.get(step.name);
    // A circle can't run, and isn't submitted; it isn't followed either.
    if (above.has(step.name)) return 0;
    above.add(step.name);
    const needs = needsOf(step).map((name) => byName.get(name)).filter(Boolean);
    const result = needs.reduce((most, need) => Math.max(most, column(need, above) + 1), 0);
    above.delete(step.name);
    found.set(step.name, result);
    return result;
  };
  return new Map(steps.map((step) => [step.name, column(step, new Set())]));
}

/** What a step waits for, without what that waits for anyway. */
export function edges(steps) {
  const byName = new Map(steps.map((step) => [step.name, step]));
  const needsOf = waiting(steps);
  const all = new Map();
  const ancestors = (step) => {
    if (all.has(step.name)) return all.get(step.name);
    const result = new Set();
    all.set(step.name, result);
    for (const name of needsOf(step)) {
      const need = byName.get(name);
      if (!need) continue;
      result.add(name);
      for (const other of ancestors(need)) result.add(other);
    }
    return result;
  };
  const found = [];
  for (const step of steps) {
    const needs = [...new Set(needsOf(step))].filter((name) => byName.has(name));
    for (const name of needs) {
      const roundabout = needs.some((other) => other !== name && ancestors(byName.get(other)).has(name));
      if (!roundabout) found.push([name, step.name]);
    }
  }
  return found;
}

function short(text) {
  const letters = [...text];
  return letters.length > NAME ? `${letters.slice(0, NAME - 1).join("")}…` : text;
}

/**
 * Places for steps and lines. A line that passes columns has a lane in each, so that it crosses no step; lines from the
 * same step share it. In a column things stand in the order of what leads to them.
 */
function layout(steps, links) {
  const column = columns(steps);
  const layers = Array.from({ length: Math.max(...column.values(), 0) + 1 }, () => []);
  const items = new Map();
  for (const step of steps) {
    const item = { step, height: NODE.height, before: [] };
    items.set(step.name, item);
    layers[column.get(step.name)].push(item);
  }
  const lanes = new Map();
  const routes = links.map(([from, to]) => {
    const route = [items.get(from)];
    for (let at = column.get(from) + 1; at < column.get(to); at++) {
      const key = JSON.stringify([from, at]);
      if (!lanes.has(key)) {
        const lane = { height: LANE, before: [route.at(-1)] };
        lanes.set(key, lane);
        layers[at].push(lane);
      }
      route.push(lanes.get(key));
    }
    items.get(to).before.push(route.at(-1));
    return { from, to, route: [...route, items.get(to)] };
  });
  const heights = layers.map((layer, at) => {
    const middle = ({ before }) => before.reduce((sum, item) => sum + item.y, 0) / Math.max(1, before.length);
    if (at > 0) layer.sort((a, b) => middle(a) - middle(b));
    const height = layer.reduce((sum, item) => sum + item.height + GAP.y, -GAP.y);
    let top = -height / 2;
    for (const item of layer) {
      item.x = MARGIN + at * (NODE.width + GAP.x);
      item.y = top + item.height / 2;
      top += item.height + GAP.y;
    }
    return height;
  });
  const height = Math.max(...heights, NODE.height) + 2 * MARGIN;
  for (const item of layers.flat()) item.y += height / 2;
  const width = layers.length * (NODE.width + GAP.x) - GAP.x + 2 * MARGIN;
  return { items, routes, width, height };
}

/** A line along its route. */
function line(route) {
  const parts = [`M${route[0].x + NODE.width} ${route[0].y}`];
  for (let at = 1; at < route.length; at++) {
    const [from, to] = [route[at - 1], route[at]];
    const middle = to.x - GAP.x / 2;
    parts.push(`C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`);
    if (!to.step) parts.push(`H${to.x + NODE.width}`);
  }
  return parts.join("");
}

/** The graph of a workflow. */
export function graph(workflow) {
  const { items, routes, width, height } = layout(workflow.steps, edges(workflow.steps));
  const edge = ({ from, to, route }) => svg("path", { d: line(route), class: `edge ${items.get(from).step.state}`, "data-from": from, "data-to": to });
  const node = ({ step, x: left, y }) => {
    const top = y - NODE.height / 2;
    const took = stepTook(step, now());
    const words = [step.kind === "commands" ? undefined : step.kind, took || step.state, step.exit_code ? `exit ${step.exit_code}` : undefined];
    const mark = sign(step.state, 18);
    mark.setAttribute("x", left + 12);
    mark.setAttribute("y", top + 14);
    return svg("a", { href: logAddress(workflow, step), class: `node ${step.state}`, "aria-label": `${step.name}: ${step.state}${took && `, ${took}`}`, "data-key": `node-${step.id}` },
      svg("title", {}, `${step.name}: ${step.state}`),
      svg("rect", { x: left, y: top, width: NODE.width, height: NODE.height, rx: 8 }),
      mark,
      svg("text", { x: left + 40, y: top + 20, class: "name" }, short(step.name)),
      svg("text", { x: left + 40, y: top + 36, class: "words" }, words.filter(Boolean).join(" · ")));
  };
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "graph", role: "group", "aria-label": "Steps, by what they wait for" }, routes.map(edge), [...items.values()].map(node));
  return h("div", { class: "scrolls" }, drawing);
}
