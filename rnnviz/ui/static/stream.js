// The server-sent events of all runs on the page, over one connection. One that is cut is taken up again from the
// last steps; one that never works (a host that passes only Streamlit's own paths) is reported once, as unreachable.

import { fromBase64, safetensors } from "./decode.js";

const OPEN_WITHIN = 4000; // ms until the connection has to stand
const FIRST_EVENT_WITHIN = 8000; // ms until the first event: a proxy that buffers opens and then says nothing
const RETRIES = 6; // refused attempts in a row before giving up: about half a minute
const RETRY_FIRST = 500;
const RETRY_LONGEST = 10000;

export class Stream {
  /**
   * handlers: run(summary), chunk(id, arrays), reset(id), connected(boolean), unreachable()
   * after(id): the last step of a run that has been received, -Infinity when there is none
   */
  constructor(url, after, handlers) {
    this.url = url;
    this.after = after;
    this.handlers = handlers;
    this.heard = false; // any event at all, over all attempts
    this.failures = 0;
    this.timer = 0;
    this.source = null;
    this.#open();
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #address() {
    const url = new URL(this.url, document.baseURI);
    const steps = url.searchParams.getAll("run").map((id) => this.after(id));
    if (steps.some(Number.isFinite)) {
      url.searchParams.set("after", steps.map((step) => (Number.isFinite(step) ? step : -1)).join(","));
    }
    return url.href;
  }

  #open() {
    const source = new EventSource(this.#address());
    this.source = source;
    if (!this.heard) this.#expect(OPEN_WITHIN);
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (this.source === source) act(event);
    });
    on("open", () => {
      if (!this.heard) this.#expect(FIRST_EVENT_WITHIN);
    });
    on("run", (event) => this.#receive(() => this.handlers.run(JSON.parse(event.data))));
    on("chunk", (event) => this.#receive(() => {
      const gap = event.data.indexOf(" ");
      this.handlers.chunk(event.data.slice(0, gap), safetensors(fromBase64(event.data.slice(gap + 1))));
    }));
    on("reset", (event) => this.#receive(() => this.handlers.reset(event.data)));
    on("error", () => this.#failed(source));
  }

  #expect(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#giveUp(), milliseconds);
  }

  #receive(act) {
    if (!this.heard || this.failures) clearTimeout(this.timer);
    this.heard = true;
    this.failures = 0;
    this.handlers.connected(true);
    act();
  }

  #failed(source) {
    // While the browser itself tries again (CONNECTING) there is nothing to do: it sends Last-Event-ID.
    if (this.heard) this.handlers.connected(false);
    if (this.source !== source || source.readyState !== EventSource.CLOSED) return;
    this.failures += 1;
    if (!this.heard || this.failures > RETRIES) {
      this.#giveUp();
      return;
    }
    const wait = Math.min(RETRY_LONGEST, RETRY_FIRST * 2 ** (this.failures - 1));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#open(), wait);
  }

  #giveUp() {
    this.close();
    this.handlers.unreachable();
  }
}
