// Small pictures that wait for each other, so that they never stand in the way of a slice.

const AT_ONCE = 2;
const waiting = new Set();
const loading = new Set();

/** Show the picture at an address in an <img> when its turn comes, unless it left the page; none until then. */
export function showLater(picture, address) {
  if (picture.dataset.address === address) return;
  picture.dataset.address = address;
  picture.removeAttribute("src");
  waiting.delete(picture);
  loading.delete(picture);
  if (address) waiting.add(picture);
  queueMicrotask(next);
}

function next() {
  for (const picture of waiting) {
    if (loading.size >= AT_ONCE) return;
    waiting.delete(picture);
    if (picture.isConnected) load(picture);
  }
}

function load(picture) {
  loading.add(picture);
  picture.onload = picture.onerror = () => {
    loading.delete(picture);
    next();
  };
  picture.src = picture.dataset.address;
}
