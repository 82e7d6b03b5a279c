// Numbers and counts as the page writes them.

/** A size: three digits, or all of them before the point; as the server writes it in the names of groups. */
export function size(value) {
  return value < 1000 ? String(Number(value.toPrecision(3))) : value.toFixed(0);
}

/** A score to three places, with a true minus; a dash where it is undefined. */
export function score(value) {
  if (value === null) return "–";
  const text = value.toFixed(3).replace("-", "−");
  return text === "−0.000" ? "0.000" : text;
}

/** How many: "1 case", "12,000 cases". */
export function count(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** "4 mm" after "4": sizes have a unit, and an empty mask says so. */
export function sizeWords(value, unit) {
  return value > 0 ? `${size(value)} ${unit}` : "nothing";
}

/** With a capital at its head. */
export const capital = (words) => words[0].toUpperCase() + words.slice(1);
