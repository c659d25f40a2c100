// What a job has found so far: every evaluation from the event stream, the front from the API.

const KNOWN = ["accuracy", "test_accuracy", "latency_ms", "predicted_latency_ms", "macs", "params", "size_bytes"];
// Direction of metrics that only finalists have and that are therefore no objectives.
const GOALS = { accuracy: "maximize", test_accuracy: "maximize", latency_ms: "minimize", macs: "minimize", params: "minimize", size_bytes: "minimize" };

export class Results {
  objectives = [];
  knee = null;
  final = false;
  reference = null; // what the networks are compared with: {id, name, metrics, ...}
  beside = []; // measured, but beyond a limit: {id, metrics, breaks}
  healed = []; // networks before and after healing: {id, before, after}
  heldOut = []; // metrics that no search has seen
  #points = new Map(); // id -> {id, number, metrics, sources, onFront}
  #front = [];

  get isEmpty() {
    return this.#points.size === 0;
  }

  get evaluated() {
    return [...this.#points.values()];
  }

  get front() {
    return this.#front;
  }

  get count() {
    return this.#points.size;
  }

  find(id) {
    return this.#points.get(id) ?? (this.reference?.id === id ? this.reference : null);
  }

  /** An `evaluation` event. */
  add({ architecture_id: id, number, metrics }) {
    const known = this.#points.get(id);
    // A score that is no number arrives as null; it is shown nowhere.
    const numbers = Object.fromEntries(Object.entries(metrics).filter(([, value]) => value !== null));
    this.#points.set(id, { id, number, metrics: { ...numbers, ...known?.metrics }, onFront: known?.onFront ?? false });
  }

  /** The answer of `/front`. */
  setFront({ objectives, points, knee, final, reference, beyond, beaten, held_out: heldOut }) {
    for (const point of this.#front) point.onFront = false;
    this.objectives = objectives;
    this.knee = knee;
    this.final = final;
    this.heldOut = heldOut ?? [];
    // What was measured takes the place of what was predicted, on the front and beside it.
    const known = (found, more) => {
      const { architecture_id: id, measurements, ...rest } = found;
      const point = { ...this.#points.get(id), ...rest, id, measured: measurements.length > 0, ...more };
      if (point.number) this.#points.set(id, point);
      return point;
    };
    for (const one of beaten ?? []) known(one, { onFront: false });
    this.beside = (beyond ?? []).map((one) => known(one, { onFront: false }));
    this.reference = reference ? known(reference, { onFront: false }) : null;
    this.#front = points.map((one) => {
      const point = known(one, { onFront: true });
      this.#points.set(point.id, point);
      return point;
    });
  }

  /** Networks of `/healing`. */
  setHealed(networks) {
    this.healed = networks.filter((one) => one.after !== null).map(({ architecture_id: id, before, after, better }) => ({ id, before, after, better }));
  }

  /** Metrics present, objectives first. */
  metrics() {
    const present = new Set();
    for (const point of this.#points.values()) for (const metric of Object.keys(point.metrics)) present.add(metric);
    // What was predicted stands beside what was measured.
    const order = [...this.objectives.flatMap(({ metric }) => [metric, `predicted_${metric}`]), ...KNOWN];
    const place = (metric) => (order.includes(metric) ? order.indexOf(metric) : order.length);
    return [...present].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  }

  goalOf(metric) {
    const measured = metric.replace(/^predicted_/, "");
    return this.objectives.find((objective) => objective.metric === measured)?.goal ?? GOALS[measured] ?? null;
  }

  /** Whether a value lies beyond its objective's limit, as a measured one may though its prediction kept it. */
  breaks(metric, value) {
    const objective = this.objectives.find((one) => one.metric === metric);
    if (objective?.limit === null || objective?.limit === undefined || value === undefined) return false;
    return objective.goal === "minimize" ? value > objective.limit : value < objective.limit;
  }

  /** The best value of a metric on the front, which leaves out what breaks a limit; null without a front. */
  best(metric) {
    const sign = this.goalOf(metric) === "minimize" ? -1 : 1;
    let best = null;
    for (const { metrics } of this.#front) {
      const value = metrics[metric];
      if (value !== undefined && (best === null || sign * value > sign * best)) best = value;
    }
    return best;
  }
}
