/** Calls of the operator's page, and what they answer. */

import { request } from "./api.js";

/**
 * @typedef {object} Figures
 * @property {number | null} fps
 * @property {number} mouths
 * @property {number} mouths_late
 * @property {number} pictures_skipped
 * @property {number} stalls
 * @property {number} sent_bitrate
 * @property {number | null} rtt_ms
 * @property {number | null} loss
 * @property {number | null} [say_to_sound_ms]
 */

/**
 * @typedef {object} OperatorSession
 * @property {string} session_id
 * @property {string} status
 * @property {string} student_id
 * @property {string | null} tutor_id
 * @property {string | null} tutor_name
 * @property {string} avatar_id
 * @property {number} viewers
 * @property {number} [position] in the waiting line
 * @property {number} seconds
 * @property {string | null} doing
 * @property {boolean} picture there is a thumbnail
 * @property {Figures | null} figures
 */

/** @typedef {{used: number, limit: number | null}} Bar */
/** @typedef {Record<"sessions" | "waiting" | "speaking" | "viewers" | "cpu" | "loop" | "memory" | "disk", Bar> & {refused: string | null}} Capacity */

/** @typedef {{avatar_id: string, state: string, stage: string, progress: number, created_at: string, error: {code: string, message: string} | null}} Build */
/** @typedef {{running: Build[], waiting: Build[], failed: Build[], ready: number}} Builds */

/** @typedef {{avatar_id: string, tutor_id: string, state: string, bytes: number, cache_bytes: number, created_at: string, last_used_at: string | null, sessions: number, sample: boolean}} Stored */
/** @typedef {{bytes: number, cache_bytes: number, cache_limit_bytes: number, recordings: {total: number, bytes: number, limit_bytes: number}, avatars: Stored[]}} Storage */

/** @typedef {{avatar_id: string, bytes: number, last_used_at: string | null, created_at: string}} Going */
/** @typedef {{dry_run: boolean, total: number, bytes: number, avatars: Going[], kept: Record<string, number>, failed: Record<string, string>}} Pruned */

/** @typedef {{mouths_per_second: number | null, capacity: number | null, device: string | null, restarts: number}} Renderer */
/** @typedef {{name: string, chosen: boolean, available: boolean, code: string | null, cause: string | null, why: string | null, figures: Renderer | null}} Engine */
/** @typedef {{name: string, online: boolean, default: boolean, available: boolean, again_in: number | null, why: string | null}} Voice */
/** @typedef {{voices: Voice[], listening: {available: boolean, code: string | null, reason: string | null}, model: {mode: string, name: string | null, why: string | null}}} Voices */

/** @typedef {{settings: Record<string, Record<string, any>>, changed: string[]}} Configuration */

/**
 * A turn: *_ms since it began, null where a stage was not reached.
 * @typedef {{at: string, session_id: string, avatar_id: string, utterance_id: string, kind: string, outcome: string, characters: number, waited_ms: number, words_ms: number | null, model_ms: number | null, sentence_ms: number | null, voice_ms: number | null, sound_ms: number | null, mouth_ms: number | null, total_ms: number}} Turn
 */

const ROOT = "/v1/admin";

/** @param {string} path @returns {Promise<any>} */
async function get(path) {
  return (await request(path, { timeout: 10000 })).json();
}

/** @returns {Promise<OperatorSession[]>} */
export async function sessions() {
  return (await get(`${ROOT}/sessions`)).sessions;
}

/** @param {string} id */
export async function stopSession(id) {
  await request(`${ROOT}/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/** @param {string} id @returns {Promise<Blob>} */
export async function thumbnail(id) {
  return (await request(`${ROOT}/sessions/${encodeURIComponent(id)}/thumbnail.jpg`, { timeout: 5000 })).blob();
}

/** @param {number} count @returns {Promise<Turn[]>} the newest first */
export const turns = async (count) => (await get(`${ROOT}/turns?limit=${count}`)).turns;

/** @returns {Promise<Capacity>} */
export const capacity = () => get(`${ROOT}/capacity`);

/** @returns {Promise<Builds>} */
export const builds = () => get(`${ROOT}/avatars/builds`);

/** @returns {Promise<Storage>} */
export const storage = () => get(`${ROOT}/storage`);

/** @returns {Promise<Engine[]>} */
export const engines = async () => (await get(`${ROOT}/engines`)).engines;

/** @returns {Promise<Voices>} */
export const voices = () => get(`${ROOT}/voices`);

/** @returns {Promise<Configuration>} */
export const configuration = () => get(`${ROOT}/config`);

/** @param {{unused_days: number, dry_run: boolean, include_sample: boolean, include_linked: boolean}} order @returns {Promise<Pruned>} */
export async function prune(order) {
  const headers = { "Content-Type": "application/json" };
  const response = await request(`${ROOT}/avatars/prune`, { method: "POST", headers, body: JSON.stringify(order), timeout: 60000 });
  return response.json();
}

/** @typedef {{draining: boolean, seconds_left: number | null, running: number, stopping: boolean}} Drain */

/** @returns {Promise<Drain>} */
export const drainState = () => get(`${ROOT}/drain`);

/** @param {number | null} seconds until the sessions that still run are ended; null: never */
export async function drain(seconds) {
  const headers = { "Content-Type": "application/json" };
  await request(`${ROOT}/drain`, { method: "POST", headers, body: JSON.stringify({ seconds }) });
}

export async function undrain() {
  await request(`${ROOT}/drain`, { method: "DELETE" });
}

/** @returns {Promise<{version: string, engine: string, uptime_seconds: number}>} */
export const health = () => get("/health");

/** Each check by its name; a server that is not ready says so with 503. @returns {Promise<Record<string, {ok: boolean, detail?: string}>>} */
export async function readiness() {
  const response = await fetch("/readyz", { signal: AbortSignal.timeout(10000) });
  return (await response.json()).checks ?? {};
}
