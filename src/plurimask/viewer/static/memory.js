// What the browser keeps of this address between visits; where storage is blocked, until the page is left.
const PREFIX = "plurimask.";
const told = new Map();

/** What was remembered under a key, or null. */
export function recall(key) {
  try {
    return told.get(key) ?? localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  told.set(key, value);
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Blocked or full: it lasts as long as the page.
  }
}
