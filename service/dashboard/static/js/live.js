// A job's server-sent events, taken up again where they broke.

const KINDS = [
  "job", "state", "stage", "data", "curve", "gradient", "evaluation", "finalist", "sensitivity", "baseline", "message",
  "predictor", "violations", "sharing cost", "front", "healing", "verb",
];
const ENDED = ["succeeded", "failed", "cancelled"];
const RETRY_MS = 3000;

/**
 * Follow a job.
 *
 * @param {string} jobId
 * @param {(kind: string, data: object) => void} hear called for every event, in order
 * @param {(link: "live" | "lost" | "ended") => void} say how the connection is
 */
export function follow(jobId, hear, say) {
  let last = 0;
  let ended = false;

  function open() {
    const source = new EventSource(`/v1/jobs/${jobId}/events?after=${last}`);
    source.addEventListener("open", () => say("live"));
    source.addEventListener("error", () => {
      // The server closes the stream after the last event of an ended job; only then it is over.
      if (ended) {
        source.close();
        say("ended");
        return;
      }
      say("lost");
      // EventSource reconnects by itself with Last-Event-ID, except after an HTTP error.
      if (source.readyState === EventSource.CLOSED) setTimeout(open, RETRY_MS);
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        const number = Number(event.lastEventId || 0);
        if (kind !== "job") {
          if (number <= last) return;
          last = number;
        }
        const data = JSON.parse(event.data);
        if (kind === "job") ended = ENDED.includes(data.state);
        hear(kind, data);
      });
    }
  }

  open();
}
