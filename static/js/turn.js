/** Waiting in line for a seat: the message channel keeps the place, and comes back when the network was away. */

import { ApiError } from "./api.js";
import { delay, pause } from "./backoff.js";

/** seconds: a guess at how long it will be; null: no idea. @typedef {{position: number, seconds: number | null}} Place */

/** States of a session that has no picture and sound yet. */
const WAITS = new Set(["waiting", "starting"]);

/**
 * Fulfilled when the session has its seat. Throws the ApiError of a session that is not there any more or not ours, and
 * the signal's reason.
 * @param {EventTarget} session tells `message` (its detail a server message) and `unplugged`
 * @param {object} way
 * @param {() => Promise<void>} way.connect have the channel open
 * @param {() => Promise<{status?: string, position?: number, estimated_seconds?: number | null}>} way.probe its record
 * @param {(record: {position?: number, estimated_seconds?: number | null}) => void} way.told
 * @param {AbortSignal} way.signal
 */
export async function waitForTurn(session, { connect, probe, told, signal }) {
  for (let attempt = 0; ; attempt += 1) {
    const listening = new AbortController();
    try {
      const called = call(session, signal, listening.signal);
      await connect().catch(async (error) => {
        await probe(); // a socket's refusal has no reason: is the session gone?
        throw error;
      });
      const record = await probe();
      if (!WAITS.has(record.status ?? "")) return;
      told(record);
      attempt = 0;
      if (await called) return;
    } catch (error) {
      const refused = error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 429;
      if (signal.aborted || refused) throw error;
      console.info("lectern: the place in line is looked after again", error);
    } finally {
      listening.abort();
    }
    await pause(delay(attempt), signal);
  }
}

/**
 * Whether it is its turn (true) or the channel broke (false), whichever comes first; rejected when `stop` is aborted.
 * @param {EventTarget} session @param {AbortSignal} stop @param {AbortSignal} signal ends the listening
 * @returns {Promise<boolean>}
 */
function call(session, stop, signal) {
  const called = new Promise((resolve, reject) => {
    const heard = (/** @type {Event} */ event) => {
      if (/** @type {CustomEvent} */ (event).detail.type === "session_ready") resolve(true);
    };
    session.addEventListener("message", heard, { signal });
    session.addEventListener("unplugged", () => resolve(false), { signal });
    stop.addEventListener("abort", () => reject(stop.reason), { signal });
    if (stop.aborted) reject(stop.reason);
  });
  called.catch(() => undefined); // it may be rejected while the connection is still waited for
  return called;
}
