// Shapes written into an image pixel by pixel. Thousands of small ones, as paths or stamps, keep a canvas busy for tens
// of milliseconds after the script is done; here all of it is a loop over numbers and one copy.

/** Red, green and blue, 0 to 255, of `#rrggbb` or `rgb(r, g, b)`. */
export function channels(colour) {
  if (colour.startsWith("#")) return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** A canvas's size in its own pixels, set where it differs; returns whether it did. */
export function fit(canvas, wide, high) {
  if (canvas.width === wide && canvas.height === high) return false;
  canvas.width = wide;
  canvas.height = high;
  return true;
}

/** Lays a colour of an opacity, 0 to 1, over the pixel that begins at a place of RGBA data. */
function lay(data, at, red, green, blue, opacity) {
  const had = data[at + 3];
  if (had === 0) {
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
    data[at + 3] = 255 * opacity;
    return;
  }
  const all = opacity + (had / 255) * (1 - opacity);
  const [over, under] = [opacity / all, 1 - opacity / all];
  data[at] = red * over + data[at] * under;
  data[at + 1] = green * over + data[at + 1] * under;
  data[at + 2] = blue * over + data[at + 2] * under;
  data[at + 3] = 255 * all;
}

/**
 * A point: a square of whole pixels, or with soft edges a disc or a ring.
 *
 * @param {ImageData} image with room for all of it
 * @param {{rgb: number[], opacity: number, side: number, square: boolean, line: number}} look in pixels: the side of the
 *   square or the diameter, and the thickness of a ring's line; 0: filled
 */
export function point(image, x, y, { rgb, opacity, side, square, line }) {
  const { data, width } = image;
  const [red, green, blue] = rgb;
  if (square) {
    const size = Math.round(side);
    const [left, top] = [Math.round(x - side / 2), Math.round(y - side / 2)];
    for (let row = top; row < top + size; row += 1) {
      const begin = 4 * (row * width + left);
      for (let at = begin; at < begin + 4 * size; at += 4) lay(data, at, red, green, blue, opacity);
    }
    return;
  }
  const radius = side / 2;
  const reach = radius + line / 2 + 0.5;
  const [left, right] = [Math.floor(x - reach), Math.ceil(x + reach)];
  const [top, bottom] = [Math.floor(y - reach), Math.ceil(y + reach)];
  for (let row = top; row < bottom; row += 1) {
    for (let column = left; column < right; column += 1) {
      const distance = Math.sqrt((column + 0.5 - x) ** 2 + (row + 0.5 - y) ** 2);
      const inside = line ? line / 2 + 0.5 - Math.abs(distance - radius) : radius + 0.5 - distance;
      if (inside > 0) lay(data, 4 * (row * width + column), red, green, blue, opacity * Math.min(1, inside));
    }
  }
}

// Where so many lines lie on one another, more are not seen; and in how many steps one is counted.
const [MOST, SHADES] = [100, 16];

/** Where many lines are: how often each pixel is covered. */
export class Density {
  #width;
  #covered;
  #image;

  constructor(width, height) {
    this.#width = width;
    this.#covered = new Float32Array(width * (height + 1));
    this.#image = new ImageData(width, height);
  }

  clear() {
    this.#covered.fill(0);
  }

  /** A line of a pixel's thickness; both ends lie within. */
  line(x1, y1, x2, y2) {
    const [covered, width] = [this.#covered, this.#width];
    const [dx, dy] = [x2 - x1, y2 - y1];
    if (Math.abs(dx) >= Math.abs(dy)) {
      const slope = dy / dx;
      for (let x = Math.ceil(x1), y = y1 + (x - x1) * slope; x <= x2; x += 1, y += slope) {
        const row = Math.floor(y);
        const part = y - row;
        covered[row * width + x] += 1 - part;
        covered[(row + 1) * width + x] += part;
      }
      return;
    }
    const slope = dx / dy;
    const [low, high] = dy > 0 ? [y1, y2] : [y2, y1];
    for (let y = Math.ceil(low), x = x1 + (y - y1) * slope; y <= high; y += 1, x += slope) {
      const column = Math.floor(x);
      const part = x - column;
      covered[y * width + column] += 1 - part;
      covered[y * width + column + 1] += part;
    }
  }

  /** All lines as an image of one colour; each alone has this opacity. */
  image([red, green, blue], opacity) {
    // Colours by how often a pixel is covered, in steps of a SHADES-th part; as they lie in memory, alpha last.
    const colours = new Uint32Array(MOST * SHADES + 1);
    const bytes = new Uint8ClampedArray(colours.buffer);
    for (let step = 1; step < colours.length; step += 1) bytes.set([red, green, blue, 255 * (1 - (1 - opacity) ** (step / SHADES))], 4 * step);
    const covered = this.#covered;
    const pixels = new Uint32Array(this.#image.data.buffer);
    for (let place = 0; place < pixels.length; place += 1) pixels[place] = colours[Math.min(MOST, covered[place]) * SHADES | 0];
    return this.#image;
  }
}
