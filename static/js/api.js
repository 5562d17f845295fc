/** Calls to the server. Every one has a time limit, and every failure is an `ApiError` with a stable code. */

import { keyHeader, ownSession } from "./access.js";
import { t } from "./i18n.js";

/**
 * @typedef {object} QualityItem
 * @property {string} code
 * @property {string} severity
 * @property {string} message
 */

/**
 * An avatar as the server describes it.
 * @typedef {object} AvatarRecord
 * @property {string} id
 * @property {string} name what to call it on the page, in the language of the moment
 * @property {boolean} sample it is the ready-made one, which has no name of its own
 * @property {"preparing" | "ready" | "failed"} state
 * @property {number} progress 0..1
 * @property {string} stage
 * @property {{code: string, message: string} | null} failure why it failed
 * @property {QualityItem[]} quality what the check had to say
 */

/**
 * Whether the tutor hears the student; code and reason say why not.
 * @typedef {{available: boolean, code: string | null, reason: string | null}} Listening
 */

/**
 * @typedef {object} SessionInfo
 * @property {string} session_id
 * @property {string} engine_url
 * @property {string} engine_token
 * @property {number} token_expires_in seconds from when it came
 * @property {string} whep_url
 * @property {RTCIceServer[]} ice_servers
 * @property {RTCIceTransportPolicy} [ice_transport_policy]
 * @property {Listening} [listening]
 * @property {"waiting" | "starting" | "ready" | "active" | "asleep"} [status]
 * @property {number} [position] in the line, while it waits; 1 is the next
 * @property {number | null} [estimated_seconds] a guess at how long that will be
 */

export class ApiError extends Error {
  /**
   * @param {string} code stable: the server's own, or network, timeout
   * @param {string} detail
   * @param {number} [status] 0: no answer came
   * @param {number | null} [retryAfter] seconds
   */
  constructor(code, detail, status = 0, retryAfter = null) {
    super(detail || code);
    this.name = "ApiError";
    this.code = code;
    this.detail = detail;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/**
 * The error a response carries: problem+json where there is one.
 * @param {number} status @param {string} body @param {string | null} retryAfter @returns {ApiError}
 */
export function problem(status, body, retryAfter) {
  let code = "";
  let detail = "";
  try {
    const data = JSON.parse(body);
    code = String(data.code ?? "");
    detail = String(data.detail ?? data.title ?? "");
  } catch {
    detail = ""; // not JSON (a proxy's page, say): the status alone must do
  }
  const seconds = Number(retryAfter);
  const wait = retryAfter !== null && Number.isFinite(seconds) ? Math.max(1, Math.min(seconds, 300)) : null;
  return new ApiError(code || `http_${status}`, detail, status, wait);
}

/**
 * @param {string} path
 * @param {RequestInit & {timeout?: number}} [options] timeout in ms
 * @returns {Promise<Response>} a response in the 200s
 */
export async function request(path, { timeout = 15000, ...options } = {}) {
  const stopper = new AbortController();
  let late = false;
  const timer = window.setTimeout(() => {
    late = true;
    stopper.abort();
  }, timeout);
  const stop = () => stopper.abort();
  options.signal?.addEventListener("abort", stop);
  if (options.signal?.aborted) stop();
  let response;
  try {
    const headers = { ...keyHeader(), ...options.headers };
    response = await fetch(path, { ...options, headers, signal: stopper.signal });
  } catch (error) {
    window.clearTimeout(timer); // else it goes on: the body has to come within the limit, too
    if (options.signal?.aborted) throw new ApiError("aborted", "");
    throw new ApiError(late ? "timeout" : "network", String(error));
  } finally {
    options.signal?.removeEventListener("abort", stop);
  }
  if (!response.ok) {
    const body = await response.text().catch(() => "");
    throw problem(response.status, body, response.headers.get("Retry-After"));
  }
  return response;
}

/** A readable name for an id: "ms-chen" is "Ms Chen". @param {string} id */
export function nameOf(id) {
  return id.replace(/[-_]+/g, " ").trim().replace(/(^|\s)(\p{L})/gu, (whole) => whole.toUpperCase()) || id;
}

/**
 * What to call an avatar: the teacher page keeps the typed name as the tutor's id. A school's own ids, which read like
 * ids (no blank, plain letters), are not for showing.
 * @param {string} tutor @param {string} id
 */
export function displayName(tutor, id) {
  return /\s|[^\x00-\x7f]/.test(tutor) ? tutor : nameOf(id);
}

/** Its tutor's name, if the server knows one. @param {any} raw a record as it came @returns {AvatarRecord} */
export function avatarRecord(raw) {
  const id = String(raw.avatar_id ?? raw.id ?? "");
  const findings = raw.quality?.findings ?? raw.quality;
  const failure = raw.error ?? null;
  const sample = id === "sample" && (raw.tutor_id ?? id) === id && !raw.tutor_name;
  const named = String(raw.tutor_name || displayName(String(raw.tutor_id ?? ""), id));
  return {
    id,
    sample,
    get name() {
      return sample ? t("tutor.sample") : named;
    },
    state: raw.state ?? "ready",
    progress: Math.max(0, Math.min(1, Number(raw.progress ?? 0))),
    stage: String(raw.stage ?? ""),
    failure: failure && { code: String(failure.code ?? "internal"), message: String(failure.message ?? "") },
    quality: Array.isArray(findings) ? findings : [],
  };
}

/** @returns {Promise<AvatarRecord[]>} */
export async function listAvatars() {
  const data = await (await request("/v1/avatars")).json();
  const items = data.items ?? (data.avatars ?? []).map((/** @type {string} */ id) => ({ id }));
  return items.map(avatarRecord);
}

/** @param {string} id @returns {Promise<AvatarRecord>} */
export async function getAvatar(id) {
  return avatarRecord(await (await request(`/v1/avatars/${encodeURIComponent(id)}`)).json());
}

/** @param {string} id */
export async function deleteAvatar(id) {
  await request(`/v1/avatars/${encodeURIComponent(id)}`, { method: "DELETE" });
}

/**
 * Put an avatar's still into an image. With a key it has to be fetched, as an image's own request carries none.
 * @param {HTMLImageElement} image @param {string} id
 */
export async function showPreview(image, id) {
  const session = ownSession();
  const url = session ? `/v1/sessions/${session}/preview.jpg` : `/v1/avatars/${encodeURIComponent(id)}/preview.jpg`;
  image.dataset.of = id;
  if (!("Authorization" in keyHeader())) {
    image.src = url;
    return;
  }
  try {
    const blob = await (await request(url)).blob();
    if (image.dataset.of !== id) return; // another avatar's by now
    const address = URL.createObjectURL(blob);
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  } catch (error) {
    console.info("lectern: no still", error);
    image.dispatchEvent(new Event("error"));
  }
}

/** @param {string} avatarId @param {string} student @param {boolean} wait in line, where there is no room @returns {Promise<SessionInfo>} */
export async function createSession(avatarId, student, wait) {
  const response = await request("/v1/sessions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ avatar_id: avatarId, student_id: student, ...(wait ? { wait } : {}) }),
  });
  return response.json();
}

/**
 * Whether a session still lives: asks the server, which answers with the session's record.
 * @param {SessionInfo} info @returns {Promise<Partial<SessionInfo>>}
 */
export async function probeSession(info) {
  const response = await request(`/v1/sessions/${encodeURIComponent(info.session_id)}`, {
    headers: { Authorization: `Bearer ${info.engine_token}` },
    timeout: 5000,
  });
  return response.json();
}

/**
 * A fresh token for a session, before the present one expires.
 * @param {SessionInfo} info @param {number} [timeout] ms @returns {Promise<SessionInfo>} the same with the fresh one
 */
export async function renewToken(info, timeout = 5000) {
  const response = await request(`/v1/sessions/${encodeURIComponent(info.session_id)}/token`, {
    method: "POST",
    headers: { Authorization: `Bearer ${info.engine_token}` },
    timeout,
  });
  const { engine_token, token_expires_in, engine_url } = await response.json();
  return { ...info, engine_token, token_expires_in, engine_url };
}

/**
 * A session that was made for this student elsewhere.
 * @param {string} id @param {string} token
 * @returns {Promise<{info: SessionInfo, avatar: AvatarRecord}>}
 */
export async function joinSession(id, token) {
  const path = `/v1/sessions/${encodeURIComponent(id)}`;
  /** @type {SessionInfo} */
  const known = { session_id: id, engine_token: token, engine_url: "", whep_url: `${path}/whep`, token_expires_in: 0, ice_servers: [] };
  const info = await renewToken(known, 15000); // a student looks on: no second chance by itself
  const found = await (await request(path, { headers: { Authorization: `Bearer ${info.engine_token}` } })).json();
  const { ice_servers, ice_transport_policy, listening, status, position, estimated_seconds } = found;
  const { avatar_id, tutor_id, tutor_name } = found;
  const avatar = avatarRecord({ id: avatar_id, tutor_id, tutor_name });
  const state = { status, position, estimated_seconds };
  return { info: { ...info, ice_servers, ice_transport_policy, listening, ...state }, avatar };
}

/** End a session; `keepalive` lets the call outlive the page. @param {SessionInfo} info @param {boolean} keepalive */
export function endSession(info, keepalive) {
  return request(`/v1/sessions/${encodeURIComponent(info.session_id)}`, {
    method: "DELETE",
    headers: { Authorization: `Bearer ${info.engine_token}` },
    keepalive,
  });
}
