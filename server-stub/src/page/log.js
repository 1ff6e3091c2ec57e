// The log of one step, live. Only the lines that are seen are in the document, however long the log is.

import { call, get, part, token } from "./api.js";
import { runs } from "./ansi.js";
import { h, refresh } from "./dom.js";
import { Lines } from "./lines.js";
import { Search } from "./search.js";
import { badge, isFinal } from "./states.js";
import { follow, setStatus } from "./stream.js";
import { exactly, timeOfDay, took } from "./time.js";

/** As in the style sheet, in pixels. */
const HEIGHT = 20;
/** Browsers draw nothing that is higher; longer logs are scrolled in larger steps. */
const MAX_PIXELS = 8_000_000;
const MARGIN = 12;
/** The most characters of a line that are drawn. */
const MAX_TEXT = 5000;
const TIMES = "piculet-times";

/** Shows the log of a step until it is closed. */
export function open(main, { workflow: name, step: stepName, line }) {
  const closing = new AbortController();
  const { signal } = closing;
  const path = `api/workflows/${part(name)}/steps/${part(stepName)}`;
  let step;
  let workflow;
  let target = line;
  let following = line === undefined;
  let lastTop = 0;
  let drawing = false;
  let showsTimes = remembered(TIMES) === "yes";

  const head = h("div", { id: "log-head" });
  const rows = h("div", { class: "lines" });
  const spacer = h("div", { class: "spacer" });
  const box = h("div", { class: "log", id: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": `What the step ${stepName} printed` }, spacer, rows);
  const empty = h("p", { class: "empty", id: "log-empty", hidden: true });
  const lines = new Lines(path, signal, (error) => (error ? fail(error) : draw()));
  const search = new Search(path, signal, { go: (number) => goTo(number), top: () => first(), changed: () => draw() });
  const times = toggle("times", "Times", () => { showsTimes = !showsTimes; remember(TIMES, showsTimes ? "yes" : "no"); draw(); });
  const followButton = toggle("follow", "Follow", () => { following = !following; draw(); });
  const download = h("a", { class: "button quiet", id: "download", href: `${path}/log.txt`, download: "", onclick: save }, "Download");
  main.className = "filling";
  main.append(h("section", { class: "panel log-panel", "aria-label": "Log" }, head, h("div", { class: "toolbar" }, search.element, h("div", { class: "row tight" }, times, followButton, download)), empty, box));

  function toggle(id, text, onclick) {
    return h("button", { type: "button", class: "quiet toggle", id, "aria-pressed": "false", onclick }, text);
  }

  /** With a token the browser can't fetch the file by itself. */
  async function save(event) {
    if (token() === undefined) return;
    event.preventDefault();
    try {
      const response = await call(`${path}/log.txt`, { signal });
      const name = /filename="([^"]*)"/.exec(response.headers.get("content-disposition") ?? "")?.[1] ?? "log.txt";
      const url = URL.createObjectURL(await response.blob());
      h("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (error) {
      if (error.name !== "AbortError") setStatus(error.message);
    }
  }

  function fail(error) {
    if (signal.aborted) return;
    if (error.status === 0 || error.status >= 500) return setStatus(error.message);
    main.className = "";
    main.replaceChildren(h("section", { class: "panel notice" }, h("h1", {}, "There is no such log"), h("p", {}, error.message), h("p", {}, h("a", { href: "#/" }, "Back to the overview"))));
    closing.abort();
  }

  // Pixels and lines. In a very long log a pixel is more than its share of a line.
  const whole = () => lines.count * HEIGHT;
  const shownHeight = () => Math.min(whole(), MAX_PIXELS);
  const room = () => box.clientHeight;
  const stretch = () => (whole() <= MAX_PIXELS ? 1 : (whole() - room()) / (MAX_PIXELS - room()));
  const first = () => Math.max(0, Math.floor((box.scrollTop * stretch()) / HEIGHT));
  const isAtEnd = () => box.scrollTop + room() >= box.scrollHeight - 2 * HEIGHT;

  function goTo(number) {
    following = false;
    const middle = number * HEIGHT - room() / 2 + HEIGHT;
    spacer.style.height = `${shownHeight()}px`;
    box.scrollTop = Math.max(0, middle / stretch());
    draw();
  }

  function draw() {
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(() => {
      drawing = false;
      if (!signal.aborted) drawNow();
    });
  }

  function drawNow() {
    spacer.style.height = `${shownHeight()}px`;
    box.classList.toggle("with-times", showsTimes);
    times.setAttribute("aria-pressed", String(showsTimes));
    followButton.setAttribute("aria-pressed", String(following));
    empty.hidden = lines.count > 0;
    empty.textContent = !step ? "" : isFinal(step.state) ? "This step printed nothing." : step.state === "pending" ? "This step has not started yet." : "Nothing was printed yet.";
    box.style.setProperty("--digits", `${Math.max(3, String(lines.count).length)}ch`);
    if (following) box.scrollTop = box.scrollHeight;
    lastTop = box.scrollTop;
    const top = first();
    const from = Math.max(0, top - MARGIN);
    const to = Math.min(lines.count, top + Math.ceil(room() / HEIGHT) + MARGIN);
    const exact = stretch() === 1 ? from * HEIGHT : box.scrollTop - (top - from) * HEIGHT;
    rows.style.transform = `translateY(${exact}px)`;
    const drawn = [];
    for (let number = from; number < to; number++) drawn.push(row(number, lines.line(number)));
    // Whoever selects text in the log can copy it: lines that didn't change stay.
    const old = new Map([...rows.children].map((element) => [element.dataset.drawn, element]));
    const next = drawn.map(({ key, build }) => old.get(key) ?? build());
    if (next.length !== rows.children.length || next.some((element, at) => rows.children[at] !== element)) rows.replaceChildren(...next);
  }

  function row(number, line) {
    const marked = search.isMatch(number);
    const classes = ["line", number + 1 === target && "target", marked && "match", search.current === number && "current", line === null && "lost"].filter(Boolean).join(" ");
    const key = `${number} ${classes} ${line ? "here" : line} ${marked ? search.text : ""} ${showsTimes}`;
    const build = () => {
      const address = `#/workflows/${part(name)}/steps/${part(stepName)}/log/L${number + 1}`;
      const element = h("div", { class: classes, "data-line": number + 1 },
        h("a", { class: "number", href: address, "aria-label": `Line ${number + 1}` }, String(number + 1)),
        showsTimes && h("span", { class: "at", title: line ? exactly(line.time) : undefined }, line ? timeOfDay(line.time) : ""),
        h("span", { class: "text" }, line ? pieces(line, marked ? search.text : "") : line === null ? "this line was lost" : "…"));
      element.dataset.drawn = key;
      return element;
    };
    return { key, build };
  }

  box.addEventListener("scroll", () => {
    const up = box.scrollTop < lastTop - 1;
    if (up && !isAtEnd()) following = false;
    else if (isAtEnd() && step && !isFinal(step.state) && box.scrollTop > lastTop) following = true;
    lastTop = box.scrollTop;
    draw();
  }, { passive: true });
  const resized = new ResizeObserver(draw);
  resized.observe(box);
  const keys = (event) => {
    if (event.target.closest("input, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = { "/": () => search.focus(), n: () => search.step(1), N: () => search.step(-1), f: () => followButton.click(), t: () => times.click() }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  };
  document.addEventListener("keydown", keys);

  function show() {
    document.title = `${step.state} · ${step.name} · ${workflow.name} #${workflow.number} · piculet`;
    refresh(head, { step, number: workflow.number, name: workflow.name }, () => [
      h("nav", { "aria-label": "Where this is", class: "crumbs" }, h("a", { href: "#/" }, "Overview"), " / ", h("a", { href: `#/workflows/${workflow.number}`, "data-key": "up" }, `${workflow.name} #${workflow.number}`)),
      h("div", { class: "head wrap" },
        h("div", { class: "row tight wrap" }, h("h1", {}, step.name), badge(step.state), step.exit_code !== null && step.exit_code !== undefined && h("span", { class: "muted figure" }, `exit ${step.exit_code}`)),
        h("span", { class: "muted" }, took(step.started, step.finished))),
      step.error && h("p", { class: "note problem" }, step.error),
      step.log_complaint && isFinal(step.state) && h("p", { class: "note warn" }, step.log_complaint),
    ].filter(Boolean));
    followButton.disabled = isFinal(step.state);
  }

  async function run() {
    try {
      workflow = await get(`api/workflows/${part(name)}`, signal);
    } catch (error) {
      return fail(error);
    }
    step = workflow.steps.find((other) => other.id === stepName) ?? workflow.steps.find((other) => other.name === stepName);
    if (!step) return fail({ status: 404, message: `The workflow '${workflow.name}' has no step '${stepName}'.` });
    lines.count = step.log_lines;
    // What ended well is read from its beginning.
    const isOver = isFinal(step.state);
    if (isOver && step.state === "success") following = false;
    show();
    drawNow();
    if (target !== undefined) goTo(target - 1);
    await follow(`${path}/events?from=${step.log_lines}&round=${workflow.round}`, signal, (event) => {
      if (event.name === "anew") {
        lines.clear();
        rows.replaceChildren();
        search.again();
      } else if (event.name === "line") {
        lines.add(event.data);
        search.grow();
      } else if (event.name === "step") {
        step = event.data;
        lines.count = Math.max(lines.count, step.log_lines);
        show();
      }
      draw();
    }, fail);
    if (isFinal(step.state) && !isOver) following = false;
    draw();
  }

  run();
  return {
    update: (wanted) => {
      target = wanted.line;
      if (target === undefined) draw();
      else if (rows.querySelector(`[data-line="${target}"]`)) {
        following = false;
        draw();
      } else goTo(target - 1);
    },
    close: () => {
      closing.abort();
      resized.disconnect();
      document.removeEventListener("keydown", keys);
    },
  };
}

/** What is seen of a line, with a text marked in it. */
function pieces(line, wanted) {
  let text = line.text;
  let more = 0;
  if (text.length > MAX_TEXT) {
    more = text.length - MAX_TEXT;
    text = text.slice(0, MAX_TEXT);
  }
  const found = runs(text, line.start);
  const marks = places(found.map((run) => run.text).join(""), wanted);
  const elements = [];
  let at = 0;
  for (const run of found) {
    const end = at + run.text.length;
    let from = at;
    for (const [start, stop] of marks) {
      if (stop <= at || start >= end) continue;
      if (start > from) elements.push(piece(run.text.slice(from - at, start - at), run, false));
      elements.push(piece(run.text.slice(Math.max(start, at) - at, Math.min(stop, end) - at), run, true));
      from = Math.min(stop, end);
    }
    if (from < end) elements.push(piece(run.text.slice(from - at), run, false));
    at = end;
  }
  if (more > 0) elements.push(h("span", { class: "more" }, ` … ${more.toLocaleString()} more characters: they are in the download`));
  return elements;
}

/** Where a text is in another one, in upper or lower case. */
function places(text, wanted) {
  if (!wanted) return [];
  const [lower, needle] = [text.toLowerCase(), wanted.toLowerCase()];
  if (lower.length !== text.length) return [];
  const found = [];
  for (let at = lower.indexOf(needle); at >= 0; at = lower.indexOf(needle, at + needle.length)) found.push([at, at + needle.length]);
  return found;
}

function piece(text, { style, link }, isMarked) {
  let { fg, bg } = style;
  // Many programs mean "bright" by bold.
  if (style.bold && typeof fg === "number" && fg < 8) fg += 8;
  const classes = ["bold", "dim", "italic", "underline", "strike", "hidden", "inverse"].filter((flag) => style[flag]);
  if (typeof fg === "number") classes.push(`fg-${fg}`);
  if (typeof bg === "number") classes.push(`bg-${bg}`);
  const looks = {};
  if (typeof fg === "string") looks["--fg"] = fg;
  if (typeof bg === "string") looks["--bg"] = bg;
  if (!isMarked && !link && classes.length === 0 && Object.keys(looks).length === 0) return text;
  const attributes = { class: classes.join(" ") || undefined, style: looks };
  const inner = link ? h("a", { ...attributes, href: link, target: "_blank", rel: "noopener noreferrer nofollow" }, text) : h("span", attributes, text);
  return isMarked ? h("mark", {}, inner) : inner;
}

function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return undefined;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that stores nothing.
  }
}
