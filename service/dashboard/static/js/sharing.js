// What sharing weights costs: networks that were trained alone, beside the same ones sliced from the supernet.

import { el } from "./dom.js";
import { amount, named } from "./format.js";

export class Sharing {
  #card;
  #list;
  #found = new Map();

  constructor(card, list) {
    this.#card = card;
    this.#list = list;
  }

  set(costs) {
    for (const cost of costs ?? []) this.#found.set(cost.architecture_id, cost);
    this.#draw();
  }

  add(cost) {
    this.set([cost]);
  }

  #draw() {
    this.#card.hidden = this.#found.size === 0;
    this.#list.replaceChildren(...[...this.#found.values()].map((cost) => el("li", {}, said(cost))));
  }
}

function said(cost) {
  if (cost.sliced === null || cost.alone === null) return `${cost.architecture_id}: no number.`;
  const [sliced, alone] = [cost.sliced, cost.alone].map((value) => amount(cost.metric, value));
  const difference = (cost.sliced - cost.alone).toPrecision(2);
  const error = cost.error === null ? "" : `, standard error ${cost.error.toPrecision(2)}`;
  return `${cost.architecture_id}: ${named(cost.metric)} ${sliced} sliced, ${alone} alone after ${cost.epochs} epochs (${difference}${error})`;
}
