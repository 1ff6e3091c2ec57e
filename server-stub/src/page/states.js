// States: a word, a colour (by class) and a shape, so that none is told by colour alone.

import { h, svg } from "./dom.js";

const GLYPHS = {
  pending: { ring: true, path: "M8 4.5V8l2.4 1.6" },
  running: { spin: true },
  success: { path: "M4.8 8.3l2.2 2.2 4.3-4.8" },
  failure: { path: "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" },
  killed: { path: "M5.8 5.8h4.4v4.4H5.8z" },
  skipped: { ring: true, path: "M6 5l3.2 3L6 11M10.4 5v6" },
  canceled: { ring: true, path: "M4 12L12 4" },
  connected: { dot: true },
  draining: { ring: true, path: "M8 4.4v5.4M5.6 7.6L8 10l2.4-2.4" },
  away: { ring: true, dashed: true },
  lost: { ring: true, dashed: true, path: "M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2" },
};

/** The sign of a state. Decoration: the word stands beside it, or in a label. */
export function sign(state, size = 16) {
  const glyph = GLYPHS[state] ?? GLYPHS.pending;
  const shapes = [];
  if (glyph.dot) shapes.push(svg("circle", { cx: 8, cy: 8, r: 4, class: "disc" }));
  else if (glyph.spin) {
    shapes.push(svg("circle", { cx: 8, cy: 8, r: 6, class: "ring faint" }));
    shapes.push(svg("path", { d: "M8 2a6 6 0 0 1 6 6", class: "ring" }));
    shapes.push(svg("circle", { cx: 8, cy: 8, r: 2, class: "disc" }));
  } else if (glyph.ring) shapes.push(svg("circle", { cx: 8, cy: 8, r: 6.3, class: glyph.dashed ? "ring dashed" : "ring" }));
  else shapes.push(svg("circle", { cx: 8, cy: 8, r: 7.2, class: "disc" }));
  if (glyph.path) shapes.push(svg("path", { d: glyph.path, class: glyph.ring ? "stroke" : "stroke inverse" }));
  const names = `sign ${state}${glyph.spin ? " spin" : ""}`;
  return svg("svg", { viewBox: "0 0 16 16", width: size, height: size, class: names, "aria-hidden": "true" }, shapes);
}

/** Sign and word. */
export function badge(state, word = state) {
  return h("span", { class: `badge ${state}` }, sign(state), h("span", {}, word));
}

/** Whether nothing follows a state. */
export function isFinal(state) {
  return state !== "pending" && state !== "running";
}

/** What to say of a workflow's state. */
export function workflowWord(workflow) {
  if (workflow.state === "running" && workflow.place === "away") return "running, its agent is away";
  if (!isFinal(workflow.state) && workflow.stopping) return `${workflow.state}, is to be stopped`;
  return workflow.state;
}
