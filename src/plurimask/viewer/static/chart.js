// What charts share.

/** Round values from 0 on to `top` or just above it: at most `most` steps. */
export function ticks(top, most) {
  if (!(top > 0)) return [0, 1];
  const least = top / most;
  const power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((one) => one * power >= least);
  const count = Math.ceil(top / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, k) => Number((k * step).toPrecision(12)));
}
