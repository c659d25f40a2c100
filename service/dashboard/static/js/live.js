// A job's server-sent events, taken up again where they broke.

import { get } from "./api.js";

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
 * @param {number} after number of the last event that is known
 * @param {(kind: string, data: object) => void} hear called for every event, in order
 * @param {(link: "live" | "lost" | "ended" | "gone") => void} say how the connection is
 */
export function follow(jobId, after, hear, say) {
  let last = after;
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
      if (source.readyState === EventSource.CLOSED) setTimeout(again, RETRY_MS);
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

  /** Opens the stream again, unless the job is no longer there. */
  async function again() {
    try {
      await get(`/v1/jobs/${jobId}`);
    } catch (error) {
      if (error.status === 404) {
        say("gone");
        return;
      }
    }
    open();
  }

  open();
}
