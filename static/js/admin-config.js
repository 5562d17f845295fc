/** The configuration in force: every setting by its group, what differs from its default marked; with a filter. */

import { configuration } from "./admin-api.js";
import { byId, el } from "./dom.js";
import { onLanguage, t } from "./i18n.js";
import { write } from "./rows.js";

/** @param {any} value @returns {string} as config.yaml would have it; "" for one that is not set */
function written(value) {
  if (value === null || value === "") return "";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(written).join(", ");
  return Object.keys(value).length ? JSON.stringify(value) : "";
}

export class ConfigurationView {
  constructor() {
    /** @type {import("./admin-api.js").Configuration | null} */
    this.found = null;
    this.drawn = "";
    /** The groups that the operator opened. @type {Set<string>} */
    this.opened = new Set();
    /** @type {HTMLInputElement} */
    this.filter = byId("config-filter");
    /** @type {HTMLInputElement} */
    this.only = byId("config-changed");
    this.filter.addEventListener("input", () => this.#sift());
    this.only.addEventListener("change", () => this.#sift());
    onLanguage(() => {
      this.drawn = "";
      this.#draw();
    });
  }

  async refresh() {
    this.found = await configuration();
    this.#draw();
  }

  #draw() {
    const found = this.found;
    if (!found) return;
    write(byId("config-lead"), t("admin.configLead", { n: found.changed.length }));
    const text = JSON.stringify(found);
    if (text === this.drawn) return;
    this.drawn = text;
    const changed = new Set(found.changed);
    const groups = Object.entries(found.settings).map(([group, values]) => {
      const list = el("dl", { class: "settings" });
      for (const [key, value] of Object.entries(values)) {
        const differs = changed.has(`${group}.${key}`);
        const shown = written(value);
        const term = el("dt", {}, key);
        if (differs) term.append(el("span", { class: "badge preparing" }, t("admin.changed")));
        list.append(el("div", { class: "setting", "data-key": `${group}.${key}`, "data-changed": String(differs) }, term, el("dd", { class: shown ? "" : "unset" }, shown || t("admin.empty"))));
      }
      const differing = Object.keys(values).filter((key) => changed.has(`${group}.${key}`)).length;
      const head = el("summary", {}, el("h3", {}, group), el("span", { class: "note" }, Object.keys(values).slice(0, 3).join(", ")));
      if (differing) head.append(el("span", { class: "badge preparing" }, t("admin.changedCount", { n: differing })));
      const open = this.opened.has(group);
      const box = /** @type {HTMLDetailsElement} */ (el("details", { class: "panel group", "data-group": group, open }, head, list));
      head.addEventListener("click", () => (box.open ? this.opened.delete(group) : this.opened.add(group)));
      return box;
    });
    byId("config").replaceChildren(...groups);
    this.#sift();
  }

  /** Hide what does not match; what is looked for stands open. */
  #sift() {
    const wanted = this.filter.value.trim().toLowerCase();
    let any = false;
    for (const group of byId("config").children) {
      let some = false;
      for (const row of group.querySelectorAll(".setting")) {
        const setting = /** @type {HTMLElement} */ (row);
        const fits = (setting.dataset.key ?? "").toLowerCase().includes(wanted) || (setting.lastElementChild?.textContent ?? "").toLowerCase().includes(wanted);
        setting.hidden = !fits || (this.only.checked && setting.dataset.changed !== "true");
        some ||= !setting.hidden;
      }
      const box = /** @type {HTMLDetailsElement} */ (group);
      box.hidden = !some;
      box.open = wanted !== "" || this.only.checked || this.opened.has(box.dataset.group ?? "");
      any ||= some;
    }
    byId("config-none").hidden = any || !this.found;
  }
}
