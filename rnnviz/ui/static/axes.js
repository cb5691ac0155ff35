// Ranges and ticks that stand still: an axis grows in round steps instead of following every number.

const X_STEPS = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];

/** Right end of the training-step axis: a round number with room to grow, never beyond the run's own end. */
export function stepLimit(last, steps = Infinity, over = false) {
  if (!Number.isFinite(last)) return Math.max(1, Math.min(steps, 100));
  if (over) return Math.max(1, last);
  const scale = 10 ** Math.floor(Math.log10(Math.max(10, last)) - 1);
  const round = X_STEPS.map((x) => x * scale).find((x) => x >= last) ?? 100 * scale;
  return Math.max(1, last, Math.min(round, steps));
}

/** Whole numbers from 0 to the end of an axis, at most so many. */
export function stepTicks(limit, most) {
  let step = Math.max(1, nice(limit / Math.max(1, most)));
  if (step < 1 || !Number.isInteger(step)) step = 1;
  return multiples(0, limit, step);
}

/** Range and ticks of an axis of shares: 0 to 1, in quarters or halves. */
export function shareAxis(most) {
  const step = most >= 5 ? 0.25 : 0.5;
  return { low: 0, high: 1, ticks: multiples(0, 1, step) };
}

/** Range and ticks of a plain axis around some values. */
export function plainAxis(low, high, most) {
  if (!(low <= high)) return { low: 0, high: 1, ticks: [] };
  const step = nice(Math.max(high - low, Math.abs(high) * 1e-3, 1e-9) / Math.max(1, most));
  const from = Math.floor(low / step + 1e-9) * step;
  const to = Math.max(from + step, Math.ceil(high / step - 1e-9) * step);
  return { low: from, high: to, ticks: multiples(from, to, step) };
}

const MANTISSAS = [1, 2, 5, 10];

function nice(x) {
  const scale = 10 ** Math.floor(Math.log10(x));
  return (MANTISSAS.find((m) => m * scale >= x * 0.999) ?? 10) * scale;
}

function multiples(low, high, step) {
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-6); i * step <= high * (1 + 1e-9); i += 1) ticks.push(i * step);
  return ticks;
}

function mantissaTicks(low, high, mantissas) {
  const ticks = [];
  for (let e = Math.floor(Math.log10(low) + 1e-9); e <= Math.ceil(Math.log10(high)); e += 1) {
    for (const m of mantissas) {
      const x = Number(`${m}e${e}`);
      if (x >= low * (1 - 1e-9) && x <= high * (1 + 1e-9)) ticks.push(x);
    }
  }
  return ticks;
}

function decadeTicks(low, high, most) {
  const from = Math.round(Math.log10(low));
  const to = Math.round(Math.log10(high));
  const every = [1, 2, 3, 4, 5, 10, 20, 50, 100].find((n) => (to - from) / n + 1 <= most) ?? 100;
  const ticks = [];
  for (let e = Math.ceil(from / every) * every; e <= to; e += every) ticks.push(Number(`1e${e}`));
  return ticks;
}

/**
 * Range and ticks of a log axis around positive values. `decades`: always whole decades. Otherwise it ends
 * at 1, 2 or 5, or at plain round numbers where the values hardly differ.
 */
export function logAxis(low, high, most, decades) {
  if (!(low > 0 && high >= low)) return { low: 0.1, high: 1, ticks: [] };
  low = Math.max(low, Number.MIN_VALUE * 1e30); // room for the axis below the smallest numbers
  high = Math.max(high, low * 1.02);
  const ratio = high / low;
  if (ratio < 3 && !decades) {
    const step = nice((high - low) / 4);
    const from = Math.floor(low / step) * step || low / 2;
    const to = Math.ceil(high / step) * step;
    return { low: from, high: to, ticks: thin(multiples(from, to, step), most) };
  }
  if (decades || ratio > 100) {
    const from = Number(`1e${Math.floor(Math.log10(low) + 1e-9)}`);
    const to = Math.max(from * 10, Number(`1e${Math.ceil(Math.log10(high) - 1e-9)}`));
    const ticks = decadeTicks(from, to, most);
    return { low: from, high: to, ticks: ticks.length < 3 ? mantissaTicks(from, to, [1, 2, 5]) : ticks };
  }
  const all = mantissaTicks(low / 10, high * 10, [1, 2, 5]);
  const from = all.filter((x) => x <= low).pop();
  const to = all.find((x) => x >= high);
  const ticks = mantissaTicks(from, to, [1, 2, 5]);
  const coarser = mantissaTicks(from, to, [1]);
  return { low: from, high: to, ticks: ticks.length > most && coarser.length > 1 ? coarser : thin(ticks, most) };
}

function thin(ticks, most) {
  const every = Math.ceil(ticks.length / most);
  return ticks.filter((_, i) => i % every === 0);
}

const T_STEPS = [1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 100, 128, 200, 250, 256, 400, 500, 512, 1000];

/** Ticks of sequence time: 1, round numbers, T. */
export function timeTicks(length, most) {
  const fits = T_STEPS.filter((n) => length / n <= most);
  const step = fits.find((n) => length % n === 0 && length / n >= 2) ?? fits[0] ?? Math.ceil(length / most);
  const ticks = [1];
  for (let t = step; t < length; t += step) {
    if (t > 1 && length - t >= step / 2 && t - 1 >= step / 2) ticks.push(t);
  }
  if (length > 1) ticks.push(length);
  return ticks;
}
