// Where a run's numbers come from: its stream, or the windows that the page sends where no stream works.

import { Stream } from "./stream.js";
import { fromBase64, safetensors } from "./decode.js";

const FINAL = new Set(["finished", "stopped", "diverged", "failed"]);
const LAST_CHUNK_WITHIN = 30000; // ms to wait for chunks that a finished run still owes
const QUIET = 1500; // ms without an event after which nothing more is owed
const NOTICE_AFTER = 1500; // ms; a connection that a server renews at once is no news

/** Whether the run will never move again by itself. */
export const ended = (run) => FINAL.has(run?.state);

export class Source {
  /**
   * view: the shared state {run, losses, ...}
   * sink: run(summary, known), chunk(arrays), clear(), forget(), notice(name of a template or ""), tell(name, value)
   */
  constructor(view, sink) {
    this.view = view;
    this.sink = sink;
    this.stream = null;
    this.address = null; // the stream asked for, also when it is closed again
    this.streamed = false; // this stream has told its run: what the page says about it is older
    this.finished = false; // closed because the run had ended
    this.unreachable = false;
    this.reported = false; // the page has been told so
    this.told = "null"; // the run as the page last told it
    this.window = null; // the last one, as it came
  }

  get connecting() {
    return this.address !== null && !this.unreachable;
  }

  /** Takes in what the page says after each run of its script; the window is a chunk as base64. */
  update(stream, run, window) {
    const told = JSON.stringify(run);
    const continued = told !== this.told && run && !ended(run) && this.finished;
    this.told = told;
    if (stream !== this.address || (stream && continued)) this.#change(stream, run);
    this.#page(run, stream, window);
  }

  #change(stream, run) {
    const same = run && run.id === this.view.run?.id;
    this.close();
    // A page that gives the stream up because it was told to still speaks of the same run.
    if (stream !== null || !same) this.unreachable = false;
    this.address = stream;
    this.streamed = false;
    this.finished = false;
    this.window = null;
    if (!this.unreachable) this.sink.notice("");
    if (!same) this.sink.forget();
    if (stream) this.#connect(stream);
  }

  #connect(stream) {
    this.stream = new Stream(stream, () => this.view.losses.last, {
      run: (run) => {
        this.streamed = true;
        this.sink.run(run, false);
        this.#mayEnd();
      },
      chunk: (arrays) => {
        this.sink.chunk(arrays);
        this.#mayEnd();
      },
      reset: () => this.sink.clear(),
      connected: (yes) => this.#connected(yes),
      unreachable: () => {
        this.stream = null;
        this.streamed = false;
        this.unreachable = true;
        this.reported = true;
        clearTimeout(this.noticeTimer);
        this.sink.notice("fallback");
        this.sink.tell("unreachable", true);
      },
    });
  }

  #connected(yes) {
    if (!yes && ended(this.view.run) && !this.#owed()) {
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
    return this.view.losses.last < this.view.run.step - 1;
  }

  /** After a final state the connection is closed as soon as the last chunk is there. */
  #mayEnd() {
    clearTimeout(this.endTimer);
    if (!this.stream || !ended(this.view.run)) {
      clearTimeout(this.owedTimer);
      this.owedTimer = 0;
      return;
    }
    this.owedTimer ||= setTimeout(() => this.#finish(), LAST_CHUNK_WITHIN); // not put off by connecting again
    if (!this.#owed()) this.endTimer = setTimeout(() => this.#finish(), QUIET);
  }

  #finish() {
    this.close();
    this.finished = true;
  }

  /** What the page itself sends: the run before the stream has spoken, and windows. */
  #page(run, stream, window) {
    // A page that sends windows has been told that no stream works; this one may still turn out to.
    const alone = this.unreachable || stream === null || (window !== null && !this.streamed);
    const older = this.streamed && !(this.finished && ended(run));
    if (run && !older && this.told !== JSON.stringify(this.view.run)) {
      if (this.view.run && this.view.run.id !== run.id) this.sink.forget();
      this.sink.run(run, !alone);
    }
    if (!alone || !window || window === this.window) return;
    this.window = window;
    this.sink.notice(ended(run) ? "" : "fallback");
    const arrays = safetensors(fromBase64(window));
    const last = arrays.step?.[arrays.step.length - 1];
    if (last < this.view.losses.last) this.sink.clear(); // the run was rewound since the last window
    this.sink.chunk(arrays);
  }

  close() {
    this.stream?.close();
    this.stream = null;
    for (const timer of [this.endTimer, this.owedTimer, this.noticeTimer]) clearTimeout(timer);
    this.owedTimer = 0;
    this.noticeTimer = 0;
  }
}
