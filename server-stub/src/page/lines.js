// The lines of a step's log: fetched page by page as they are looked at, or added as they come. Memory is bounded.

import { get } from "./api.js";
import { PLAIN, styleAfter } from "./ansi.js";

const PAGE = 1000;
const MAX_PAGES = 60;

/** Lines by number; the first is 0. */
export class Lines {
  #pages = new Map();
  #path;
  #signal;
  #changed;

  /** `path` is that of the step; `changed` is called when more is known, or with an error. */
  constructor(path, signal, changed) {
    this.#path = path;
    this.#signal = signal;
    this.#changed = changed;
    /** One more than the highest number that is known. */
    this.count = 0;
  }

  /** The step began anew: what it printed before is gone. */
  clear() {
    this.#pages.clear();
    this.count = 0;
  }

  /** A line; `null` if it is lost, `undefined` if it isn't here yet: then it is fetched. */
  line(number) {
    const page = this.#pages.get(Math.floor(number / PAGE));
    const line = page?.lines[number % PAGE];
    if (line) return line;
    if (page && number < page.known) return null;
    this.#fetch(Math.floor(number / PAGE), number);
    return undefined;
  }

  /** A line came. */
  add({ number, text, time }) {
    const index = Math.floor(number / PAGE);
    if (!this.#pages.has(index) && number % PAGE !== 0) {
      // The page's beginning isn't here; it is fetched as a whole if somebody looks at it.
      this.count = Math.max(this.count, number + 1);
      return;
    }
    const page = this.#page(index, number);
    if (page.known >= number) this.#put(page, number, text, time);
    if (page.known === number) page.known = number + 1;
    this.count = Math.max(this.count, number + 1);
  }

  #page(index, near) {
    let page = this.#pages.get(index);
    if (!page) {
      page = { lines: new Array(PAGE), known: index * PAGE, isLoading: false };
      this.#pages.set(index, page);
      if (this.#pages.size > MAX_PAGES) {
        const far = [...this.#pages.keys()].reduce((a, b) => (Math.abs(b * PAGE - near) > Math.abs(a * PAGE - near) ? b : a));
        this.#pages.delete(far);
      }
    }
    return page;
  }

  /** A colour may go on over lines; over those that aren't here it is not known. */
  #put(page, number, text, time) {
    const before = number % PAGE === 0 ? this.#pages.get(Math.floor(number / PAGE) - 1)?.lines[PAGE - 1] : page.lines[(number % PAGE) - 1];
    const start = before ? before.end : PLAIN;
    page.lines[number % PAGE] = { text, time, start, end: styleAfter(text, start) };
  }

  async #fetch(index, near) {
    const page = this.#page(index, near);
    if (page.isLoading || near >= this.count) return;
    page.isLoading = true;
    const end = (index + 1) * PAGE;
    try {
      while (page.known < end) {
        const from = page.known;
        const part = await get(`${this.#path}/log?from=${from}&count=${end - from}`, this.#signal);
        // The step began anew meanwhile, or the page went to make room: this is about nothing that is shown.
        if (this.#pages.get(index) !== page) return;
        for (const { number, text, time } of part.lines) {
          if (number < end) this.#put(page, number, text, time);
        }
        const last = part.lines.at(-1);
        if (last) this.count = Math.max(this.count, last.number + 1);
        // All before the highest line that is kept either came or is lost.
        page.known = Math.min(end, Math.max(from, last ? part.next : Math.min(end, this.count)));
        if (!last || page.known >= Math.min(end, this.count)) break;
      }
      page.isLoading = false;
      this.#changed();
    } catch (error) {
      page.isLoading = false;
      if (error.name !== "AbortError") this.#changed(error);
    }
  }
}
