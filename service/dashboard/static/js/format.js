// Numbers and times as people read them. The API speaks in shares, bytes, seconds and milliseconds.

const LABELS = {
  accuracy: "Accuracy",
  test_accuracy: "Test accuracy",
  test_perplexity: "Test perplexity",
  test_task_accuracy: "Held-out task accuracy",
  test_task_accuracy_norm: "Held-out task accuracy, per character",
  test_task_accuracy_bytes: "Held-out task accuracy, per byte",
  macs: "MACs",
  params: "Parameters",
  size_bytes: "Size",
  peak_activation_bytes: "Peak activations",
  latency_ms: "Latency",
  tokens_per_second: "Tokens per second",
  kl_divergence: "KL divergence",
  label_gradient_alignment: "Label-gradient alignment",
  task_accuracy: "Task accuracy",
  task_accuracy_norm: "Task accuracy, per character",
  task_accuracy_bytes: "Task accuracy, per byte",
};

/** A metric's name for people. */
export function label(metric) {
  const words = metric.replace(/_(ms|bytes|mj)$/, "").replaceAll("_", " ");
  return LABELS[metric] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

/** A metric's name within a sentence: abbreviations keep their letters. */
export function named(metric) {
  return label(metric).replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
}

/** Whether a metric is a share between 0 and 1. */
export function isShare(metric) {
  return /(^|_)accuracy(_|$)/.test(metric);
}

const digits3 = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, useGrouping: false });
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** Three significant digits with a decimal prefix: 513472 is 513 k. */
export function scaled(value, unit = "") {
  for (const [limit, prefix] of PREFIXES) {
    // 999,600 rounds to 1,000 k, which is said as 1 M.
    if (Math.abs(value) >= limit * 0.9995) return `${digits3.format(value / limit)}\u00a0${prefix}${unit}`;
  }
  return unit ? `${digits3.format(value)}\u00a0${unit}` : digits3.format(value);
}

/** A metric's value with its unit. */
export function amount(metric, value) {
  if (value === null || value === undefined) return "–";
  if (isShare(metric)) return `${(100 * value).toFixed(2)}\u00a0%`;
  if (metric.endsWith("_ms")) return milliseconds(value);
  if (/_bytes(_|$)/.test(metric)) return scaled(value, "B");
  return scaled(value);
}

/** An interval as plus or minus, in the metric's unit; nothing where there is none. */
export function spread(metric, value, ends) {
  if (!ends || ends[0] === null || ends[1] === null || value === null || value === undefined) return "";
  const half = Math.max(value - ends[0], ends[1] - value);
  return isShare(metric) ? `±\u00a0${(100 * half).toFixed(1)}` : `±\u00a0${((100 * half) / Math.abs(value || 1)).toFixed(1)}\u00a0%`;
}

/** A share of the reference, as a factor. */
export function times(ratio) {
  return ratio === undefined || ratio === null ? "" : `×\u00a0${ratio < 0.1 ? ratio.toPrecision(2) : ratio.toFixed(2)}`;
}

/** The same, short, for the marks of an axis. */
export function mark(metric, value) {
  if (isShare(metric)) return `${digits3.format(100 * value)}\u00a0%`;
  return amount(metric, value);
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return `${digits3.format(value)}\u00a0ms`;
}

export function percent(share) {
  return `${Math.floor(100 * share + 1e-9)}\u00a0%`;
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [days, hours] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24];
  const [minutes, rest] = [Math.floor(whole / 60) % 60, whole % 60];
  if (days) return `${days}\u00a0d ${hours}\u00a0h`;
  if (hours) return `${hours}\u00a0h ${String(minutes).padStart(2, "0")}\u00a0min`;
  if (minutes) return `${minutes}\u00a0min ${String(rest).padStart(2, "0")}\u00a0s`;
  return `${rest}\u00a0s`;
}

/** An estimate: no finer than it can be known. */
export function roughly(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const step = seconds < 60 ? 5 : seconds < 600 ? 10 : 60;
  const rounded = Math.max(step, Math.round(seconds / step) * step);
  return rounded < 600 ? duration(rounded) : duration(rounded).replace(/\s00\ss$/u, "");
}

// A time that is not known exactly is said in a unit and in steps of it, as long as it is below a limit; all in seconds.
const SPANS = [[1, 5, 90, "s"], [60, 60, 5400, "min"], [3600, 1800, 129_600, "h"], [86_400, 43_200, Infinity, "d"]];

/** A time between two bounds, as people say it: "12 to 18 min". */
export function between(low, high) {
  const [unit, step, , word] = SPANS.find(([, , limit]) => high < limit) ?? SPANS.at(-1);
  const [from, to] = [low, high].map((seconds) => (Math.round(seconds / step) * step) / unit);
  const most = Math.max(to, step / unit);
  if (from >= most) return `about ${most}\u00a0${word}`;
  return from > 0 ? `${from} to ${most}\u00a0${word}` : `up to ${most}\u00a0${word}`;
}

/** How long a job still takes, with what is known of its bounds; null: nobody knows. */
export function left({ state, eta_seconds: seconds, eta_low_seconds: low, eta_high_seconds: high }) {
  if (state !== "running" || seconds === null || seconds === undefined) return null;
  return low === null || low === undefined || high === null ? `about ${roughly(seconds)}` : between(low, high);
}

const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "long", timeStyle: "long" });

/** How long ago, or the date if it is more than a day. */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)}\u00a0s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}\u00a0h ago`;
  return day.format(new Date(iso));
}

export function timeOfDay(iso) {
  return clock.format(new Date(iso));
}

export function exactTime(iso) {
  return exact.format(new Date(iso));
}
