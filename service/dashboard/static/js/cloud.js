// The points of a plot, on two canvases of their own between the axes and the marks of a chart: many behind, the front
// before them. What is faint changes with every step of a slider, so this is drawn without the chart.

import { el } from "./dom.js";
import { channels, fit, point } from "./pixels.js";

export class Cloud {
  #element;
  #back = null; // made with the first drawing: a chart empties its element when it begins
  #top = null;
  #image = null;

  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {{width: number, height: number, plane: {x: number[], y: number[]}}} frame of the plot in CSS pixels: nothing
   *   whose centre is beyond the plane is drawn
   * @param {{places: Float32Array, looks: Uint8Array, kinds: object[]}} cloud x, y, x, y, ... of its points in CSS pixels,
   *   which of the kinds `{colour, opacity, size, hollow, square}` each is
   * @param {(point: number) => boolean} keeps whether a point of the cloud is not faint
   * @param {number} faint opacity of those that are
   * @param {{x: number, y: number, fill: string, line: string, thick: number, size: number, diamond: boolean,
   *   opacity: number}[]} front
   */
  draw({ width, height, plane }, { places, looks, kinds }, keeps, faint, front) {
    this.#back ??= this.#element.appendChild(el("canvas", { class: "cloud", "aria-hidden": "true" }));
    this.#top ??= this.#element.appendChild(el("canvas", { class: "cloud dots", "aria-hidden": "true" }));
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (fit(this.#back, wide, high) || !this.#image) this.#image = new ImageData(wide, high);
    else this.#image.data.fill(0);
    fit(this.#top, wide, high);
    const drawn = kinds.map(({ colour, opacity, size, hollow, square }) => ({ rgb: channels(colour), opacity, side: size * ratio, square: square && !hollow, line: hollow ? 1.25 * ratio : 0 }));
    const pale = drawn.map((look) => ({ ...look, opacity: faint }));
    const [left, right] = plane.x;
    const [bottom, top] = plane.y;
    const kept = new Uint8Array(looks.length);
    for (let at = 0; at < looks.length; at += 1) {
      const [x, y] = [places[2 * at], places[2 * at + 1]];
      if (!(x >= left && x <= right && y >= top && y <= bottom)) kept[at] = 2;
      else if (keeps(at)) kept[at] = 1;
      else point(this.#image, x * ratio, y * ratio, pale[looks[at]]);
    }
    for (let at = 0; at < looks.length; at += 1) if (kept[at] === 1) point(this.#image, places[2 * at] * ratio, places[2 * at + 1] * ratio, drawn[looks[at]]);
    this.#back.getContext("2d").putImageData(this.#image, 0, 0);
    const pen = this.#top.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    for (const { x, y, fill, line, thick, size, diamond, opacity } of front) {
      if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
      pen.globalAlpha = opacity;
      pen.fillStyle = fill;
      pen.strokeStyle = line;
      pen.lineWidth = thick;
      pen.beginPath();
      const half = size / 2;
      if (diamond) for (const [right, down] of [[0, -half], [half, 0], [0, half], [-half, 0]]) pen.lineTo(x + right, y + down);
      else pen.arc(x, y, half, 0, 2 * Math.PI);
      pen.closePath();
      pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }
}
