/** Figures as people read them: durations, shares, rates, times ago; in the page's language. */

import { language, t } from "./i18n.js";

const NONE = "–";

/** @param {number | null | undefined} value @returns {value is number} */
function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

/** @param {number} value @param {number} [digits] after the point at most @returns {string} */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
}

/** @param {number | null | undefined} value in ms */
export function ms(value) {
  return known(value) ? t("admin.ms", { n: number(value) }) : NONE;
}

/** @param {number | null | undefined} share 0..1 @param {number} [digits] */
export function percent(share, digits = 1) {
  return known(share) ? t("admin.percent", { n: number(share * 100, digits) }) : NONE;
}

/** @param {number | null | undefined} value bit/s */
export function bitrate(value) {
  return known(value) ? t("admin.mbit", { n: number(value / 1e6, 2) }) : NONE;
}

/** @param {number | null | undefined} value pictures a second */
export function fps(value) {
  return known(value) ? t("admin.fpsValue", { n: number(value, 1) }) : NONE;
}

const STEPS = /** @type {const} */ ([["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]]);

/** A time as its largest unit: "3 days", "20 sec". @param {number} seconds @returns {string} */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [unit, size] = STEPS.find(([, each]) => whole >= each) ?? STEPS[3];
  return new Intl.NumberFormat(language(), { style: "unit", unit, unitDisplay: "short" }).format(Math.floor(whole / size));
}

/** How long ago: "3 days ago". @param {string} iso @returns {string} */
export function ago(iso) {
  const seconds = (Date.now() - new Date(iso).getTime()) / 1000;
  const whole = Math.max(0, Math.round(seconds));
  const [unit, size] = STEPS.find(([, each]) => whole >= each) ?? STEPS[3];
  return new Intl.RelativeTimeFormat(language(), { numeric: "auto" }).format(-Math.floor(whole / size), unit);
}

/** A moment in full, for a title. @param {string} iso @returns {string} */
export function moment(iso) {
  return new Date(iso).toLocaleString(language());
}
