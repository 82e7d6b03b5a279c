// A slice of the image as grey pixels between the values shown as black and as white.

/** Holds the pixels of the latest slice; `of` makes them anew where the slice or the window is another. */
export class Picture {
  #canvas = new OffscreenCanvas(1, 1);
  #shown = {};

  /** A canvas of rows * columns pixels. */
  of(image, { low, high }) {
    const shown = this.#shown;
    if (shown.image === image && shown.low === low && shown.high === high) return this.#canvas;
    this.#shown = { image, low, high };
    if (this.#canvas.width !== image.columns || this.#canvas.height !== image.rows) {
      this.#canvas = new OffscreenCanvas(image.columns, image.rows);
    }
    const context = this.#canvas.getContext("2d", { alpha: false });
    const data = context.createImageData(image.columns, image.rows);
    fill(new Uint32Array(data.data.buffer), image, low, high);
    context.putImageData(data, 0, 0);
    return this.#canvas;
  }
}

function fill(words, { raw, scale, offset }, low, high) {
  const steps = 255 / (high - low);
  const [gain, start] = [scale * steps, (offset - low) * steps + 0.5];
  for (let i = 0; i < raw.length; i += 1) {
    const value = raw[i] * gain + start;
    words[i] = 0xff000000 | ((value < 0 ? 0 : value > 255 ? 255 : value | 0) * 0x010101);
  }
}
