// Search in a log. The server searches, so that a long log needn't be here.

import { get, part } from "./api.js";
import { h } from "./dom.js";

const WAIT = 250;
const AT_ONCE = 10_000;
const MAX_MATCHES = 50_000;

/** The search field, its count and its buttons. */
export class Search {
  #path;
  #signal;
  #log;
  #numbers = [];
  #known = new Set();
  #next = 0;
  #round = 0;
  #isSearching = false;
  #hasGrown = false;
  #isFull = false;
  #timer;
  #input;
  #count;

  /** `log` can go to a line, tells the one at the top, and is told when marks changed. */
  constructor(path, signal, log) {
    this.#path = path;
    this.#signal = signal;
    this.#log = log;
    /** What is searched for; empty: nothing. */
    this.text = "";
    /** The line that was gone to last. */
    this.current = undefined;
    this.#input = h("input", { type: "search", id: "search", placeholder: "Search in this log", "aria-label": "Search in this log", autocomplete: "off", spellcheck: "false", oninput: () => this.#later(), onkeydown: (event) => this.#key(event) });
    this.#count = h("output", { class: "muted figure", id: "search-count", for: "search", "aria-live": "polite" });
    const button = (id, sign, label, direction) => h("button", { type: "button", class: "quiet", id, "aria-label": label, title: label, onclick: () => this.step(direction) }, sign);
    this.element = h("div", { class: "row tight search", role: "search" }, this.#input, button("search-previous", "↑", "Previous match", -1), button("search-next", "↓", "Next match", 1), this.#count);
  }

  focus() {
    this.#input.focus();
    this.#input.select();
  }

  /** Whether a line matches. */
  isMatch(number) {
    return this.#known.has(number);
  }

  /** Goes to the next match, or the one before; from the last to the first. */
  step(direction) {
    if (this.#numbers.length === 0) return;
    const from = this.current ?? this.#log.top() - (direction > 0 ? 1 : 0);
    let at = direction > 0 ? this.#numbers.findIndex((number) => number > from) : this.#numbers.findLastIndex((number) => number < from);
    if (at < 0) at = direction > 0 ? 0 : this.#numbers.length - 1;
    this.#go(at);
  }

  /** There are more lines. */
  grow() {
    this.#hasGrown = true;
    if (this.text && !this.#isSearching && !this.#timer) this.#timer = setTimeout(() => { this.#timer = undefined; this.#search(false); }, 4 * WAIT);
  }

  /** The log began anew, and so does the search. */
  again() {
    this.text = "";
    this.#start();
  }

  #key(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      if (this.#input.value !== this.text) this.#start();
      else this.step(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      this.#input.value = "";
      this.#start();
    }
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { this.#timer = undefined; this.#start(); }, WAIT);
  }

  #start() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#input.value === this.text) return;
    this.text = this.#input.value;
    this.#round++;
    this.#numbers = [];
    this.#known = new Set();
    this.#next = 0;
    this.#isFull = false;
    this.current = undefined;
    this.#tell();
    this.#log.changed();
    if (this.text) this.#search(true);
  }

  async #search(goes) {
    const round = this.#round;
    this.#isSearching = true;
    this.#hasGrown = false;
    try {
      for (let isLast = false; !isLast; ) {
        const found = await get(`${this.#path}/log/search?text=${part(this.text)}&from=${this.#next}&count=${AT_ONCE}`, this.#signal);
        if (round !== this.#round) return;
        for (const { number } of found.matches) {
          this.#numbers.push(number);
          this.#known.add(number);
        }
        this.#next = found.next;
        this.#isFull = this.#numbers.length >= MAX_MATCHES;
        isLast = found.is_last || this.#isFull;
        if (goes && this.current === undefined && this.#numbers.length > 0) {
          const at = this.#numbers.findIndex((number) => number >= this.#log.top());
          if (at >= 0 || isLast) this.#go(Math.max(0, at));
        }
        this.#tell();
        this.#log.changed();
      }
    } catch (error) {
      if (error.name !== "AbortError" && round === this.#round) this.#count.textContent = error.message;
    } finally {
      if (round === this.#round) {
        this.#isSearching = false;
        if (this.#hasGrown) this.grow();
      }
    }
  }

  #go(at) {
    this.current = this.#numbers[at];
    this.#tell();
    this.#log.go(this.current);
  }

  #tell() {
    const many = `${this.#numbers.length.toLocaleString()}${this.#isFull ? "+" : ""}`;
    const at = this.current === undefined ? 0 : this.#numbers.indexOf(this.current) + 1;
    this.#count.textContent = !this.text ? "" : this.#numbers.length === 0 ? "no line" : `${at.toLocaleString()} of ${many}`;
  }
}
