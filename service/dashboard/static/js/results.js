// What a job has found so far: evaluations as columns and then from the event stream, the front from the API.

const KNOWN = ["accuracy", "test_accuracy", "latency_ms", "predicted_latency_ms", "macs", "params", "size_bytes"];
// Direction of metrics that only finalists have and that are therefore no objectives.
const GOALS = { accuracy: "maximize", test_accuracy: "maximize", latency_ms: "minimize", macs: "minimize", params: "minimize", size_bytes: "minimize", peak_activation_bytes: "minimize" };

export class Results {
  objectives = [];
  knee = null;
  final = false;
  reference = null; // what the networks are compared with: {id, name, metrics, ...}
  beside = []; // measured, but beyond a limit: {id, metrics, breaks}
  healed = []; // networks before and after healing: {id, before, after}
  baselines = []; // networks that policies are compared with: {id, name, metrics}
  heldOut = []; // metrics that no search has seen
  worst = {}; // objective -> corner that the hypervolume is measured from
  hypervolume = null;
  #points = new Map(); // id -> {id, number, metrics, sources, onFront}
  #front = [];
  #list = null; // the points in the order of their evaluation
  #present = new Set();
  #sources = new Map(); // texts of sources -> one record for all points that have them

  get isEmpty() {
    return this.#points.size === 0;
  }

  get evaluated() {
    this.#list ??= [...this.#points.values()];
    return this.#list;
  }

  get front() {
    return this.#front;
  }

  get count() {
    return this.#points.size;
  }

  /** Number of the last evaluation. */
  get last() {
    return this.evaluated.reduce((last, point) => Math.max(last, point.number), 0);
  }

  find(id) {
    return this.#points.get(id) ?? (this.reference?.id === id ? this.reference : (this.baselines.find((one) => one.id === id) ?? null));
  }

  /** The answer of `/evaluations/columns`. */
  addColumns({ after, ids, metrics, sources }) {
    const columns = Object.entries(metrics);
    const said = Object.entries(sources);
    ids.forEach((id, place) => {
      const numbers = {};
      for (const [name, column] of columns) numbers[name] = column[place];
      const how = {};
      for (const [name, words] of said) how[name] = Array.isArray(words) ? words[place] : words;
      this.#add(id, after + 1 + place, numbers, how);
    });
  }

  /** An `evaluation` event. */
  add({ architecture_id: id, number, metrics, sources }) {
    this.#add(id, number, metrics, sources ?? this.evaluated.at(-1)?.sources ?? {});
  }

  #add(id, number, metrics, sources) {
    const known = this.#points.get(id);
    const numbers = {};
    for (const name in metrics) {
      // A score that is no number arrives as null; it is shown nowhere.
      if (metrics[name] === null || metrics[name] === undefined) continue;
      numbers[name] = metrics[name];
      this.#present.add(name);
    }
    const words = JSON.stringify(sources);
    if (!this.#sources.has(words)) this.#sources.set(words, sources);
    const how = known?.sources ? { ...sources, ...known.sources } : this.#sources.get(words);
    this.#points.set(id, { ...known, id, number, metrics: known ? { ...numbers, ...known.metrics } : numbers, sources: how, onFront: known?.onFront ?? false });
    this.#list = null;
  }

  /** The answer of `/front`. */
  setFront({ objectives, points, knee, final, reference, beyond, beaten, baselines, held_out: heldOut, worst, hypervolume }) {
    for (const point of this.#front) point.onFront = false;
    this.objectives = objectives;
    this.knee = knee;
    this.final = final;
    this.heldOut = heldOut ?? [];
    this.worst = worst ?? {};
    this.hypervolume = hypervolume ?? null;
    // What was measured takes the place of what was predicted, on the front and beside it.
    const known = (found, more) => {
      const { architecture_id: id, measurements, metrics, ...rest } = found;
      const numbers = Object.fromEntries(Object.entries(metrics).filter(([, value]) => value !== null));
      const point = { ...this.#points.get(id), ...rest, metrics: numbers, id, measured: measurements.length > 0, ...more };
      if (point.number) this.#points.set(id, point);
      for (const name in numbers) this.#present.add(name);
      return point;
    };
    for (const one of beaten ?? []) known(one, { onFront: false });
    this.beside = (beyond ?? []).map((one) => known(one, { onFront: false }));
    this.reference = reference ? known(reference, { onFront: false }) : null;
    this.baselines = (baselines ?? []).map(({ architecture_id: id, metrics, ...rest }) => ({ ...rest, id, metrics, onFront: false }));
    this.#front = points.map((one) => {
      const point = known(one, { onFront: true });
      this.#points.set(point.id, point);
      return point;
    });
    this.#list = null;
  }

  /** Networks of `/healing`. */
  setHealed(networks) {
    this.healed = networks.filter((one) => one.after !== null).map(({ architecture_id: id, before, after, better }) => ({ id, before, after, better }));
  }

  /** Metrics present, objectives first. */
  metrics() {
    // What was predicted stands beside what was measured.
    const order = [...this.objectives.flatMap(({ metric }) => [metric, `predicted_${metric}`]), ...KNOWN];
    const place = (metric) => (order.includes(metric) ? order.indexOf(metric) : order.length);
    return [...this.#present].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
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
    return this.extreme(metric)?.metrics[metric] ?? null;
  }

  /** The network of the front that is best in a metric, or null. */
  extreme(metric) {
    const sign = this.goalOf(metric) === "minimize" ? -1 : 1;
    let best = null;
    for (const point of this.#front) {
      const value = point.metrics[metric];
      if (value !== undefined && (best === null || sign * value > sign * best.metrics[metric])) best = point;
    }
    return best;
  }
}
