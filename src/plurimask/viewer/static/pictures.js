// Small pictures that wait for each other, so that they never stand in the way of a slice.

const AT_ONCE = 2;
const waiting = new Set();
let loading = 0;

/** Give an <img> its address when its turn comes, unless it left the page. */
export function showLater(picture, address) {
  if (picture.dataset.address === address) return;
  picture.dataset.address = address;
  waiting.delete(picture);
  waiting.add(picture);
  queueMicrotask(next);
}

function next() {
  while (loading < AT_ONCE && waiting.size) {
    const picture = waiting.values().next().value;
    waiting.delete(picture);
    if (picture.isConnected) load(picture);
  }
}

function load(picture) {
  loading += 1;
  const over = () => {
    loading -= 1;
    next();
  };
  picture.addEventListener("load", over, { once: true });
  picture.addEventListener("error", over, { once: true });
  picture.src = picture.dataset.address;
}
