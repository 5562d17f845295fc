/** What the server saw in a clip, as a list: icon, sentence, and how bad it is. */

import { el, icon } from "./dom.js";
import { has, language, t } from "./i18n.js";

const ICONS = { error: "cross", warning: "warn", info: "info", ok: "check" };

/**
 * The sentence for a finding: in English the server's own, which may name figures; else ours for the code.
 * @param {{code: string, message: string}} finding
 */
export function sentence({ code, message }) {
  if (language() === "en" && message) return message;
  for (const key of [`quality.${code}`, `error.${code}`]) if (has(key)) return t(key);
  return message || t("quality.internal");
}

/** Worst first; a clip without findings gets one friendly line. @param {import("./api.js").AvatarRecord} record */
export function checkList(record) {
  const findings = [...record.quality];
  if (record.state === "failed" && record.failure && !findings.some((each) => each.code === record.failure?.code)) {
    findings.unshift({ ...record.failure, severity: "error" });
  }
  const order = ["error", "warning", "info", "ok"];
  findings.sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
  if (findings.length === 0) findings.push({ code: "ok", severity: "ok", message: "" });
  return findings.map((finding) => {
    const tone = finding.severity in ICONS ? /** @type {keyof typeof ICONS} */ (finding.severity) : "info";
    return el("li", { class: `check ${tone}` }, el("span", { class: "check-mark" }, icon(ICONS[tone])), sentence(finding));
  });
}
