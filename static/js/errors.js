/** From an error to a sentence a person understands: our own words for known codes, else what the server said. */

import { ApiError } from "./api.js";
import { has, t } from "./i18n.js";
import { MediaError } from "./rtc.js";

/** Other names the same failure goes by. @type {Record<string, string>} */
const SAME = {
  at_capacity: "capacity",
  too_many_sessions: "capacity",
  http_503: "busy",
  http_401: "unauthorized",
  http_403: "forbidden",
  http_413: "upload_too_large",
  too_large: "upload_too_large",
  body_too_large: "upload_too_large",
  exists: "avatar_exists",
  in_use: "avatar_in_use",
  invalid_id: "invalid_avatar_id",
  not_found: "avatar_not_found",
  not_ready: "avatar_not_ready",
  wrong_token: "unauthorized",
  internal_error: "server",
  not_started: "server",
  http_507: "disk_full",
};

/** @param {string} code @returns {string} the code under which our sentences know it */
export function codeOf(code) {
  return SAME[code] ?? code;
}

/**
 * For whoever runs the network or the server: what has to be opened, or set right. "" for other errors.
 * @param {unknown} error
 */
export function remedy(error) {
  if (!(error instanceof MediaError)) return "";
  const { direct, relays, refused } = error.ways;
  if (refused) return t("network.refused");
  // One of each kind is enough to ask for: the first relay is the quickest, the last the one that firewalls pass.
  const places = new Set([...direct.slice(0, 1), ...relays.slice(0, 1), ...relays.slice(-1)]);
  const open = places.size > 0 ? t("network.open", { places: [...places].join(", ") }) : "";
  return relays.length > 0 ? open : `${open} ${t("network.noRelay")}`;
}

/** @param {unknown} error @returns {string} one sentence */
export function explain(error) {
  if (!(error instanceof ApiError)) return t("error.server");
  const code = codeOf(error.code);
  if (has(`error.${code}`)) return t(`error.${code}`);
  if (has(`quality.${code}`)) return t(`quality.${code}`);
  return error.detail || t("error.server");
}

/** Whether a link to a session does not open it (any more). @param {unknown} error */
export function isBadLink(error) {
  return error instanceof ApiError && (error.code === "wrong_token" || error.code === "token_expired");
}

/** Whether what was asked for is not there (any more). @param {unknown} error */
export function isGone(error) {
  return error instanceof ApiError && (error.status === 404 || error.status === 410);
}

/** Whether the server wants its key. @param {unknown} error */
export function needsKey(error) {
  return error instanceof ApiError && error.code === "unauthorized";
}

/** Whether a capacity limit was met: then waiting helps. @param {unknown} error @returns {error is ApiError} */
export function isCapacity(error) {
  if (!(error instanceof ApiError) || error.code === "turn_unavailable" || error.code === "draining") return false;
  return codeOf(error.code) === "capacity" || error.status === 503;
}
