// The many points behind a front, on a canvas of their own between the axes and the marks of a chart. A chart library
// builds one path of them and fills it; a rectangle or a stamp for each takes a third of that time.

import { el } from "./dom.js";

export class Cloud {
  #element;
  #canvas = null;
  #stamps = new Map(); // look -> canvas with one point

  constructor(element) {
    this.#element = element;
  }

  /**
   * @param {{places: number[], colour: string, opacity: number, size: number, hollow: boolean, square: boolean}[]} groups
   *   of points that look alike; `places`: x, y, x, y, ... in values of the axes; drawn in this order
   * @param {((value: number) => number)[]} axes pixel of a value across, and up
   * @param {{x: number[], y: number[]}} plane both ends of the axes in pixels: nothing is drawn beyond
   */
  draw(groups, [across, up], plane) {
    const { clientWidth: width, clientHeight: height } = this.#element;
    const ratio = window.devicePixelRatio || 1;
    this.#canvas ??= this.#element.appendChild(el("canvas", { class: "cloud", "aria-hidden": "true" }));
    const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.#canvas.width !== wide || this.#canvas.height !== high) {
      this.#canvas.width = wide;
      this.#canvas.height = high;
    }
    const pen = this.#canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, wide, high);
    const [left, right, top, bottom] = [...plane.x, ...[...plane.y].sort((a, b) => a - b)].map((pixel) => pixel * ratio);
    for (const { places, colour, opacity, size, hollow, square } of groups) {
      pen.globalAlpha = opacity;
      pen.fillStyle = colour;
      const side = size * ratio;
      const stamp = square && !hollow ? null : this.#stamp({ colour, side, hollow, square, line: 1.25 * ratio });
      const half = (stamp ? stamp.width : side) / 2;
      for (let at = 0; at < places.length; at += 2) {
        const [x, y] = [across(places[at]) * ratio, up(places[at + 1]) * ratio];
        if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
        if (stamp) pen.drawImage(stamp, x - half, y - half);
        else pen.fillRect(x - half, y - half, side, side);
      }
    }
    pen.globalAlpha = 1;
  }

  /** One point as a picture, made once for each look. */
  #stamp(look) {
    const name = Object.values(look).join();
    if (this.#stamps.has(name)) return this.#stamps.get(name);
    const { colour, side, hollow, square, line } = look;
    const full = Math.ceil(side + (hollow ? line : 0)) + 2;
    const stamp = el("canvas", { width: full, height: full });
    const pen = stamp.getContext("2d");
    pen.beginPath();
    if (square) pen.rect((full - side) / 2, (full - side) / 2, side, side);
    else pen.arc(full / 2, full / 2, side / 2, 0, 2 * Math.PI);
    if (hollow) {
      pen.strokeStyle = colour;
      pen.lineWidth = line;
      pen.stroke();
    } else {
      pen.fillStyle = colour;
      pen.fill();
    }
    this.#stamps.set(name, stamp);
    return stamp;
  }
}
