// Where the runs' numbers come from: their stream, or the windows that the page sends where no stream works.

import { Stream } from "./stream.js";
import { fromBase64, safetensors } from "./decode.js";

const FINAL = new Set(["finished", "stopped", "diverged", "failed"]);
const LAST_CHUNK_WITHIN = 30000; // ms to wait for chunks that a finished run still owes
const QUIET = 1500; // ms without an event after which nothing more is owed
const NOTICE_AFTER = 1500; // ms; a connection that a server renews at once is no news

/** Whether the run will never move again by itself. */
export const ended = (run) => FINAL.has(run?.state);

/** What is known of a slot's run; while its film is shown, `slot.run` tells the film's story. */
const known = (slot) => slot.final ?? slot.run;

export class Source {
  /**
   * slots(): the slots on the page
   * sink: run(slot, summary, known), chunk(slot, arrays), clear(slot), notice(name of a template or ""),
   *   tell(name, value), complete()
   */
  constructor(slots, sink) {
    this.slots = slots;
    this.sink = sink;
    this.stream = null;
    this.address = null; // the stream asked for, also when it is closed again
    this.streamed = new Set(); // runs that this stream has told: what the page says about them is older
    this.finished = false; // closed because all runs had ended
    this.unreachable = false;
    this.reported = false; // the page has been told so
    this.told = new Map(); // the runs as the page last told them
    this.windows = new Map(); // the last ones, as they came
    this.ids = "";
  }

  get connecting() {
    return this.address !== null && !this.unreachable;
  }

  #slot(id) {
    return this.slots().find((slot) => slot.id === id);
  }

  #followed() {
    return this.slots().filter((slot) => slot.id !== null);
  }

  #allEnded() {
    const followed = this.#followed();
    return followed.length > 0 && followed.every((slot) => ended(known(slot)));
  }

  /** Takes in what the page says after each run of its script; a window is a chunk as base64. */
  update(stream, runs, windows) {
    const ids = JSON.stringify(this.#followed().map((slot) => slot.id));
    const same = ids === this.ids;
    this.ids = ids;
    let continued = false;
    for (const run of runs) {
      const told = JSON.stringify(run);
      continued ||= told !== this.told.get(run.id) && !ended(run) && this.finished;
      this.told.set(run.id, told);
    }
    if (stream !== this.address || (stream && continued)) this.#change(stream, same);
    for (const run of runs) this.#told(run, stream, windows[run.id] ?? null);
    for (const [id, window] of Object.entries(windows)) this.#window(id, stream, window);
  }

  #change(stream, same) {
    this.close();
    // A page that gives the stream up because it was told to still speaks of the same runs.
    if (stream !== null || !same) this.unreachable = false;
    this.address = stream;
    this.streamed.clear();
    this.finished = false;
    this.windows.clear();
    if (!this.unreachable) this.sink.notice("");
    if (stream) this.#connect(stream);
  }

  #connect(stream) {
    this.stream = new Stream(stream, (id) => this.#slot(id)?.received ?? -Infinity, {
      run: (run) => {
        const slot = this.#slot(run.id);
        if (!slot) return;
        this.streamed.add(run.id);
        this.sink.run(slot, run, false);
        this.#mayEnd();
      },
      chunk: (id, arrays) => {
        const slot = this.#slot(id);
        if (slot) this.sink.chunk(slot, arrays);
        this.#mayEnd();
      },
      reset: (id) => {
        const slot = this.#slot(id);
        if (slot) this.sink.clear(slot);
      },
      connected: (yes) => this.#connected(yes),
      unreachable: () => {
        this.stream = null;
        this.streamed.clear();
        this.unreachable = true;
        this.reported = true;
        clearTimeout(this.noticeTimer);
        this.sink.notice("fallback");
        this.sink.tell("unreachable", true);
      },
    });
  }

  #connected(yes) {
    if (!yes && this.#allEnded() && !this.#owed() && !this.#repeating()) {
      this.#finish(); // the server has said everything and closed
      return;
    }
    if (!yes) {
      this.noticeTimer ||= setTimeout(() => this.sink.notice("reconnecting"), NOTICE_AFTER);
      return;
    }
    clearTimeout(this.noticeTimer);
    this.noticeTimer = 0;
    this.sink.notice("");
    if (this.reported) {
      this.reported = false; // another stream works: the page need not send windows any more
      this.sink.tell("unreachable", false);
    }
  }

  /** Steps are counted from 0: the last of n is n - 1. */
  #owed() {
    // Of a run that ended before its first step nothing is to come.
    return this.#followed().some((slot) => known(slot).step > 0 && slot.received < known(slot).step - 1);
  }

  /** Whether runs that repeat one of these with another seed are still under way: their spread will change. */
  #repeating() {
    return this.#followed().some(({ run }) => run?.repeats && run.repeats.ended < run.repeats.runs);
  }

  /** After all final states the connection is closed as soon as the last chunk is there. */
  #mayEnd() {
    clearTimeout(this.endTimer);
    if (!this.stream || !this.#allEnded() || this.#repeating()) {
      clearTimeout(this.owedTimer);
      this.owedTimer = 0;
      return;
    }
    this.owedTimer ||= setTimeout(() => this.#finish(), LAST_CHUNK_WITHIN); // not put off by connecting again
    if (!this.#owed()) {
      this.endTimer = setTimeout(() => this.#finish(), QUIET);
      this.sink.complete();
    }
  }

  #finish() {
    this.close();
    this.finished = true;
    this.sink.complete();
  }

  /** A page that sends windows has been told that no stream works; this one may still turn out to. */
  #alone(id, stream, window) {
    return this.unreachable || stream === null || (window !== null && !this.streamed.has(id));
  }

  /** What the page itself says of a run, before the stream has spoken. */
  #told(run, stream, window) {
    const slot = this.#slot(run.id);
    const older = this.streamed.has(run.id) && !(this.finished && ended(run));
    if (!slot || older || this.told.get(run.id) === JSON.stringify(slot.run)) return;
    this.sink.run(slot, run, !this.#alone(run.id, stream, window));
  }

  #window(id, stream, window) {
    const slot = this.#slot(id);
    if (!slot || !window || window === this.windows.get(id) || !this.#alone(id, stream, window)) return;
    this.windows.set(id, window);
    this.sink.notice(stream === null && !this.unreachable || this.#allEnded() ? "" : "fallback");
    const arrays = safetensors(fromBase64(window));
    if (arrays.step?.at(-1) < slot.received) this.sink.clear(slot); // the run was rewound since the last window
    this.sink.chunk(slot, arrays);
    if (this.#allEnded()) this.sink.complete();
  }

  close() {
    this.stream?.close();
    this.stream = null;
    for (const timer of [this.endTimer, this.owedTimer, this.noticeTimer]) clearTimeout(timer);
    this.owedTimer = 0;
    this.noticeTimer = 0;
  }
}
