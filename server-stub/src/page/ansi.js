// Terminal text: what the escape sequences of a line make of it. Pure.

const ESCAPE = "\x1b";
/** What can move the cursor or erase within a line: `\r`, backspace, and the sequences C, D, G and K. */
const MOVES = /[\r\b]|\x1b\[[0-9;]*[CDGK]/;
/** A line longer than this isn't drawn cell by cell. */
const MAX_CELLS = 20_000;

/** How text looks where nothing was said. */
export const PLAIN = Object.freeze({ fg: undefined, bg: undefined, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false, hidden: false });

const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 8: "hidden", 9: "strike", 21: "underline" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 28: ["hidden"], 29: ["strike"] };

/** A colour of the 256, as 0 to 15 or as `rgb(…)`. */
function indexed(number) {
  if (number < 16) return number;
  if (number > 231) {
    const grey = 8 + (number - 232) * 10;
    return `rgb(${grey},${grey},${grey})`;
  }
  const level = (part) => (part === 0 ? 0 : 55 + part * 40);
  const cube = number - 16;
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}

const byte = (text) => Math.min(255, Math.max(0, Number.parseInt(text, 10) || 0));

/** The colour after 38 or 48, and how many parameters it takes. Both forms are in use: `38;2;r;g;b` and `38:2::r:g:b`. */
function colour(parameters, at) {
  const inner = parameters[at].split(":");
  if (inner.length > 1) {
    if (inner[1] === "5") return [indexed(byte(inner[2])), 0];
    if (inner[1] === "2") return [`rgb(${inner.slice(-3).map(byte).join(",")})`, 0];
    return [undefined, 0];
  }
  if (parameters[at + 1] === "5") return [indexed(byte(parameters[at + 2])), 2];
  if (parameters[at + 1] === "2") return [`rgb(${parameters.slice(at + 2, at + 5).map(byte).join(",")})`, 4];
  return [undefined, 0];
}

/** A style after a sequence `ESC [ … m`. */
function styled(style, text) {
  const parameters = text.split(";");
  const next = { ...style };
  for (let at = 0; at < parameters.length; at++) {
    const code = Number.parseInt(parameters[at], 10) || 0;
    if (code === 0) Object.assign(next, PLAIN);
    else if (code === 4 && parameters[at] === "4:0") next.underline = false;
    else if (FLAGS[code]) next[FLAGS[code]] = true;
    else if (OFF[code]) for (const flag of OFF[code]) next[flag] = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 39) next.fg = undefined;
    else if (code === 49) next.bg = undefined;
    else if (code === 38 || code === 48) {
      const [value, taken] = colour(parameters, at);
      next[code === 38 ? "fg" : "bg"] = value;
      at += taken;
    }
  }
  return next;
}

/** A line cut into text, sequences and single controls. */
function* tokens(line) {
  let at = 0;
  let start = 0;
  const text = () => line.slice(start, at);
  while (at < line.length) {
    const code = line.charCodeAt(at);
    if (code >= 32 && code !== 127 || code === 9) {
      at++;
      continue;
    }
    if (at > start) yield { text: text() };
    if (line[at] !== ESCAPE) {
      yield { control: line[at] };
      start = ++at;
      continue;
    }
    const kind = line[at + 1];
    if (kind === "[") {
      let end = at + 2;
      while (end < line.length && !(line.charCodeAt(end) >= 0x40 && line.charCodeAt(end) <= 0x7e)) end++;
      yield { csi: line[end], parameters: line.slice(at + 2, end) };
      at = end + 1;
    } else if (kind === "]" || kind === "P" || kind === "X" || kind === "^" || kind === "_") {
      let end = at + 2;
      while (end < line.length && line[end] !== "\x07" && line[end] !== ESCAPE) end++;
      if (kind === "]") yield { osc: line.slice(at + 2, end) };
      at = end + (line[end] === ESCAPE ? 2 : 1);
    } else {
      let end = at + 1;
      while (end < line.length && line.charCodeAt(end) >= 0x20 && line.charCodeAt(end) <= 0x2f) end++;
      at = end + 1;
    }
    start = at;
  }
  if (at > start && start < line.length) yield { text: text() };
}

/** An address that a link may lead to: nothing but the web. */
function safe(address) {
  return /^https?:\/\/[^\s]+$/i.test(address) ? address : undefined;
}

/** The style at the end of a line that began with `start`. */
export function styleAfter(line, start) {
  if (!line.includes(ESCAPE)) return start;
  let style = start;
  for (const token of tokens(line)) if (token.csi === "m") style = styled(style, token.parameters);
  return style;
}

/** What is seen of a line that began with the style `start`: runs of text with a style and perhaps a link. */
export function runs(line, start = PLAIN) {
  let text = line.endsWith("\r") ? line.slice(0, -1) : line;
  if (MOVES.test(text)) {
    if (text.length <= MAX_CELLS) return cells(text, start);
    // Too long for that: what follows the last return to the line's beginning.
    text = text.slice(text.lastIndexOf("\r") + 1);
  }
  let style = start;
  let link;
  const found = [];
  for (const token of tokens(text)) {
    if (token.text !== undefined) found.push({ text: token.text, style, link });
    else if (token.csi === "m") style = styled(style, token.parameters);
    else if (token.osc?.startsWith("8;")) link = safe(token.osc.slice(token.osc.indexOf(";", 2) + 1));
  }
  return found;
}

/** The same cell by cell, as a terminal overwrites. */
function cells(line, start) {
  let style = start;
  let link;
  let cursor = 0;
  const row = [];
  for (const token of tokens(line)) {
    if (token.text !== undefined) for (const letter of token.text) row[cursor++] = { letter, style, link };
    else if (token.control === "\r") cursor = 0;
    else if (token.control === "\b") cursor = Math.max(0, cursor - 1);
    else if (token.csi) {
      const number = Number.parseInt(token.parameters, 10) || 0;
      if (token.csi === "m") style = styled(style, token.parameters);
      else if (token.csi === "C") cursor = Math.min(MAX_CELLS, cursor + Math.max(1, number));
      else if (token.csi === "D") cursor = Math.max(0, cursor - Math.max(1, number));
      else if (token.csi === "G") cursor = Math.min(MAX_CELLS, Math.max(1, number) - 1);
      else if (token.csi === "K" && number === 0) row.length = Math.min(row.length, cursor);
      else if (token.csi === "K" && number === 1) for (let at = 0; at <= cursor && at < row.length; at++) row[at] = undefined;
      else if (token.csi === "K") row.length = 0;
    } else if (token.osc?.startsWith("8;")) link = safe(token.osc.slice(token.osc.indexOf(";", 2) + 1));
  }
  const found = [];
  for (let at = 0; at < row.length; at++) {
    const { letter, style: look, link: to } = row[at] ?? { letter: " ", style: PLAIN };
    const last = found.at(-1);
    if (last && last.style === look && last.link === to) last.text += letter;
    else found.push({ text: letter, style: look, link: to });
  }
  return found;
}
