// The nearest of many points: a grid of cells, so that a look costs the same for a hundred and for a hundred thousand.

const CELL = 24; // pixels

export class Nearest {
  #cells = new Map(); // "column row" as one number -> places
  #points = [];

  /** @param {{left: number, top: number, reach: number, cost: number}[]} points in pixels; `cost` is added to the distance */
  constructor(points) {
    this.#points = points;
    points.forEach(({ left, top }, place) => {
      const key = cellOf(left, top);
      const cell = this.#cells.get(key);
      if (cell) cell.push(place);
      else this.#cells.set(key, [place]);
    });
  }

  /** The point that is nearest to a place and within its reach, or null. */
  find(left, top) {
    let best = null;
    let least = Infinity;
    for (const across of [-CELL, 0, CELL]) {
      for (const down of [-CELL, 0, CELL]) {
        for (const place of this.#cells.get(cellOf(left + across, top + down)) ?? []) {
          const point = this.#points[place];
          const distance = Math.hypot(point.left - left, point.top - top);
          if (distance <= point.reach && distance + point.cost < least) {
            best = point;
            least = distance + point.cost;
          }
        }
      }
    }
    return best;
  }
}

function cellOf(left, top) {
  return Math.floor(left / CELL) * 100_003 + Math.floor(top / CELL);
}
