/** Waiting between attempts: longer each time, never in step with others, cut short when the network comes back. */

/**
 * How long to wait before an attempt, in ms: 0.4, 0.8, 1.6 … 8 s, each moved by up to a quarter.
 * @param {number} attempt 0, 1, 2, …
 * @param {number} [chance] 0..1
 */
export function delay(attempt, chance = Math.random()) {
  return Math.round(Math.min(8000, 400 * 2 ** attempt) * (0.75 + chance * 0.5));
}

/**
 * Wait; the network's return ends it early, `signal` ends it by an exception.
 * @param {number} ms @param {AbortSignal} signal @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clear();
      resolve();
    };
    const stop = () => {
      clear();
      reject(signal.reason);
    };
    const timer = window.setTimeout(done, ms);
    const clear = () => {
      window.clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", stop);
    };
    if (signal.aborted) return stop();
    window.addEventListener("online", done);
    signal.addEventListener("abort", stop);
  });
}
