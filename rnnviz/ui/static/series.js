// What is kept of a run in the browser: bounded, and evenly spread over the whole run.
//
// Halving everything again and again would thin the beginning of a long run to nothing, because the
// oldest points take part in every halving. So both classes keep a spacing that doubles instead: the
// training steps fall into buckets of equal width, each of which keeps its extremes.

const POINTS = 4096;
const COLUMNS = 600;

/** Rows (step, several values), thinned by the minimum and maximum of the first column. */
export class Series {
  constructor(names, capacity = POINTS) {
    this.names = names;
    this.capacity = capacity;
    this.clear();
  }

  clear() {
    this.step = [];
    this.values = Object.fromEntries(this.names.map((name) => [name, []]));
    this.width = 1; // training steps in one bucket
    this.open = 0; // index of the first row of the newest bucket
  }

  get length() {
    return this.step.length;
  }

  get last() {
    return this.length ? this.step[this.length - 1] : -Infinity;
  }

  /** Appends the rows that are newer than the last one (a replay repeats old ones); true if there were any. */
  append(steps, columns) {
    const before = this.last;
    for (let i = 0; i < steps.length; i += 1) {
      if (steps[i] > this.last) this.#push(steps[i], columns.map((column) => column[i]));
    }
    return this.last > before;
  }

  #push(step, row) {
    const bucket = Math.floor(step / this.width);
    if (this.length === 0 || bucket !== Math.floor(this.last / this.width)) {
      if (this.width > 1) this.#compress(this.open, false);
      this.open = this.length;
    }
    this.step.push(step);
    this.names.forEach((name, j) => this.values[name].push(row[j]));
    if (this.width > 1 && this.length - this.open > 5) this.#compress(this.open, true);
    if (this.length > this.capacity) this.#shrink();
  }

  /** Of the rows from `from` on (one bucket): the extremes, the first NaN, the first Inf and perhaps the newest. */
  #compress(from, newest) {
    this.#keep(from, this.#essential(from, this.length, newest));
  }

  #essential(from, to, newest) {
    const key = this.values[this.names[0]];
    let low = -1;
    let high = -1;
    let nan = -1;
    let inf = -1;
    for (let i = from; i < to; i += 1) {
      const y = key[i];
      if (Number.isNaN(y)) nan = nan < 0 ? i : nan;
      else if (!Number.isFinite(y)) inf = inf < 0 ? i : inf;
      else {
        if (low < 0 || y < key[low]) low = i;
        if (high < 0 || y > key[high]) high = i;
      }
    }
    const kept = new Set([low, high, nan, inf, newest ? to - 1 : -1]);
    kept.delete(-1);
    return [...kept].sort((a, b) => a - b);
  }

  #keep(from, indices) {
    for (const column of [this.step, ...Object.values(this.values)]) {
      indices.forEach((index, j) => { column[from + j] = column[index]; });
      column.length = from + indices.length;
    }
  }

  #shrink() {
    const few = this.capacity / 2 + 8; // the first and last bucket are rarely full
    while (this.length > few) {
      this.width *= 2;
      const kept = [];
      let from = 0;
      for (let i = 1; i <= this.length; i += 1) {
        const end = i === this.length;
        if (!end && Math.floor(this.step[i] / this.width) === Math.floor(this.step[from] / this.width)) continue;
        if (end) this.open = kept.length;
        kept.push(...this.#essential(from, i, end));
        from = i;
      }
      this.#keep(0, kept);
    }
  }

  /** Index of the row nearest to a training step; -1 when there is none. */
  nearest(step) {
    return nearest(this.step, step);
  }

  /** Index of the last row at or before a training step; -1 when there is none. */
  upTo(step) {
    const i = nearest(this.step, step);
    return i >= 0 && this.step[i] > step ? i - 1 : i;
  }
}

/** Columns of the heat map: for each training step kept one Int16Array of the R codes of every part. */
export class Columns {
  constructor(capacity = COLUMNS) {
    this.capacity = capacity;
    this.clear();
  }

  clear() {
    this.step = [];
    this.codes = [];
    this.generation = (this.generation ?? 0) + 1; // whoever has painted the old columns paints anew
    this.rows = 0;
    this.parts = 1; // layers and directions
    this.gap = 0; // least distance of two kept columns; only the newest may be closer
    this.low = Infinity; // smallest and largest finite code seen
    this.high = -Infinity;
    this.seen = { zero: false, inf: false, nan: false };
    this.changed = 0; // index of the first column that has not been painted as it is now
  }

  get length() {
    return this.step.length;
  }

  get last() {
    return this.length ? this.step[this.length - 1] : -Infinity;
  }

  append(steps, codes, rows, parts = 1) {
    if (steps.length && (rows !== this.rows || parts !== this.parts)) {
      this.clear(); // another network or sequence length: an old column beside a new one would mean nothing
      this.rows = rows;
      this.parts = parts;
    }
    const size = rows * parts;
    for (let i = 0; i < steps.length; i += 1) {
      if (steps[i] <= this.last) continue;
      this.#push(steps[i], codes.slice(i * size, (i + 1) * size));
    }
  }

  /** The R codes of one part in column i. */
  column(i, part) {
    const from = Math.min(part, this.parts - 1) * this.rows;
    return this.codes[i].subarray(from, from + this.rows);
  }

  #push(step, column) {
    const n = this.length;
    const close = n >= 2 && this.step[n - 1] - this.step[n - 2] < this.gap;
    const at = close ? n - 1 : n;
    this.step[at] = step;
    this.codes[at] = column;
    // The neighbour on the left grows or shrinks with its new neighbour, so it is painted again too.
    this.changed = Math.min(this.changed, Math.max(0, at - 1));
    for (const code of column) {
      if (code === -32768) this.seen.zero = true;
      else if (code === 32767) this.seen.inf = true;
      else if (code === 32766) this.seen.nan = true;
      else {
        if (code < this.low) this.low = code;
        if (code > this.high) this.high = code;
      }
    }
    if (this.length > this.capacity) this.#thin();
  }

  #thin() {
    this.gap = ((this.last - this.step[0]) / this.capacity) * 2;
    const kept = [];
    this.step.forEach((step, i) => {
      if (!kept.length || i === this.length - 1 || step - this.step[kept[kept.length - 1]] >= this.gap) kept.push(i);
    });
    this.step = kept.map((i) => this.step[i]);
    this.codes = kept.map((i) => this.codes[i]);
    this.changed = 0;
  }

  nearest(step) {
    return nearest(this.step, step);
  }
}

export function nearest(steps, step) {
  let low = 0;
  let high = steps.length - 1;
  if (high < 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle;
    else high = middle;
  }
  return step - steps[low] <= steps[high] - step ? low : high;
}
