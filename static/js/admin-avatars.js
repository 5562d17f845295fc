/** Avatars: what they take on disk and when they were used, which are being prepared, and the pruning of the unused. */

import { builds, prune, storage } from "./admin-api.js";
import { size } from "./bytes.js";
import { sure } from "./confirm.js";
import { byId, el, toast } from "./dom.js";
import { codeOf, explain } from "./errors.js";
import { ago, moment, percent } from "./figures.js";
import { has, onLanguage, t } from "./i18n.js";
import { mark, Rows, write } from "./rows.js";

/** @typedef {import("./admin-api.js").Build} Build */
/** @typedef {import("./admin-api.js").Stored} Stored */
/** @typedef {import("./admin-api.js").Going} Going */

/** @param {{code: string, message: string} | null} error @returns {string} */
function reason(error) {
  if (error === null) return "";
  const code = codeOf(error.code);
  for (const key of [`quality.${code}`, `error.${code}`]) if (has(key)) return t(key);
  return error.message;
}

/** @returns {import("./rows.js").Row<Build>} */
function buildRow() {
  const name = el("span", { class: "build-name" });
  const words = el("span", { class: "build-words" });
  const bar = /** @type {HTMLProgressElement} */ (el("progress", { max: "1" }));
  const node = el("li", { class: "build" }, name, words, bar);
  return {
    node,
    show: (build) => {
      write(name, build.avatar_id);
      mark(node, "data-id", build.avatar_id);
      const failed = build.state === "failed";
      bar.hidden = failed;
      if (failed) {
        write(words, `${ago(build.created_at)} · ${reason(build.error)}`);
        return;
      }
      const stage = has(`admin.stage.${build.stage}`) ? t(`admin.stage.${build.stage}`) : build.stage;
      const waits = build.stage === "queued";
      write(words, waits ? t("admin.waitingTurn") : `${stage} · ${percent(build.progress, 0)}`);
      if (bar.value !== build.progress) bar.value = build.progress;
      mark(bar, "aria-label", build.avatar_id);
    },
  };
}

/** @returns {import("./rows.js").Row<{stored: Stored, most: number}>} */
function storedRow() {
  const id = el("span", { class: "stored-id" });
  const badge = el("span", { class: "badge" });
  const name = el("th", { scope: "row" }, el("span", { class: "stored-name" }, id, badge));
  const text = el("span", { class: "stored-size" });
  const solid = el("span", { class: "solid" });
  const cache = el("span", { class: "cache" });
  const bar = el("span", { class: "stored-bar", "aria-hidden": "true" }, solid, cache);
  const used = el("td");
  const node = el("tr", {}, name, el("td", {}, text, bar), used);
  return {
    node,
    show: ({ stored, most }) => {
      mark(node, "data-id", stored.avatar_id);
      write(id, stored.avatar_id);
      const shown = stored.sessions > 0 ? t("admin.inUse") : stored.state === "ready" ? (stored.sample ? t("admin.sampleMark") : "") : t(`teacher.state.${stored.state}`);
      write(badge, shown);
      badge.hidden = shown === "";
      mark(badge, "class", `badge ${stored.sessions > 0 ? "active" : stored.state === "ready" ? "plain" : stored.state}`);
      write(text, size(stored.bytes));
      mark(text, "title", t("admin.sizes", { bytes: size(stored.bytes), cache: size(stored.cache_bytes) }));
      const share = (/** @type {number} */ bytes) => `${most > 0 ? (100 * bytes) / most : 0}%`;
      solid.style.inlineSize = share(stored.bytes - stored.cache_bytes);
      cache.style.inlineSize = share(stored.cache_bytes);
      write(used, stored.last_used_at ? ago(stored.last_used_at) : t("admin.neverUsed"));
      mark(used, "title", stored.last_used_at ? moment(stored.last_used_at) : null);
    },
  };
}

export class AvatarPanels {
  /** @param {() => void} changed storage is to be measured again */
  constructor(changed) {
    this.changed = changed;
    /** @type {import("./admin-api.js").Builds | null} */
    this.built = null;
    /** @type {import("./admin-api.js").Storage | null} */
    this.stored = null;
    /** @type {Rows<Build>} */
    this.running = new Rows(byId("builds"), (build) => build.avatar_id, buildRow);
    /** @type {Rows<Build>} */
    this.failed = new Rows(byId("failed"), (build) => build.avatar_id, buildRow);
    /** @type {Rows<{stored: Stored, most: number}>} */
    this.table = new Rows(byId("storage-rows"), (row) => row.stored.avatar_id, storedRow);
    this.prune = new PruneForm(changed);
    onLanguage(() => this.#draw());
  }

  async refreshBuilds() {
    const before = this.built?.ready;
    this.built = await builds();
    this.#draw();
    if (before !== undefined && before !== this.built.ready) this.changed();
  }

  async refreshStorage() {
    this.stored = await storage();
    this.#draw();
  }

  #draw() {
    const { built, stored } = this;
    if (built) {
      const busy = [...built.running, ...built.waiting];
      this.running.show(busy);
      write(byId("builds-note"), busy.length ? "" : t("admin.buildsIdle"));
      byId("builds-note").hidden = busy.length > 0;
      this.failed.show(built.failed);
      byId("failed-box").hidden = built.failed.length === 0;
    }
    if (stored) {
      const most = Math.max(...stored.avatars.map((each) => each.bytes), 1);
      this.table.show(stored.avatars.map((each) => ({ stored: each, most })));
      const values = { ready: stored.avatars.filter((each) => each.state === "ready").length, bytes: size(stored.bytes), cache: size(stored.cache_bytes), limit: size(stored.cache_limit_bytes) };
      const films = stored.recordings;
      const more = films.total ? ` · ${t("admin.recordingsLead", { n: films.total, bytes: size(films.bytes), limit: size(films.limit_bytes) })}` : "";
      write(byId("avatars-lead"), t("admin.avatarsLead", values) + more);
    } else write(byId("avatars-lead"), t("admin.loading"));
  }
}

/** Which avatars would go, shown first; then deleted, if that is what the operator wants. */
class PruneForm {
  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    /** @type {import("./admin-api.js").Pruned | null} */
    this.found = null;
    /** @type {HTMLInputElement} */
    this.days = byId("days");
    /** @type {Rows<Going>} */
    this.rows = new Rows(byId("going"), (going) => going.avatar_id, () => {
      const name = el("span", { class: "build-name" });
      const words = el("span", { class: "build-words" });
      return {
        node: el("li", {}, name, words),
        show: (going) => {
          write(name, going.avatar_id);
          write(words, `${size(going.bytes)} · ${going.last_used_at ? ago(going.last_used_at) : t("admin.neverUsed")}`);
        },
      };
    });
    byId("prune").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#look();
    });
    for (const id of ["days", "with-sample", "with-linked"]) byId(id).addEventListener("input", () => this.#forget());
    byId("prune-no").addEventListener("click", () => this.#forget());
    byId("prune-yes").addEventListener("click", () => void this.#go());
    onLanguage(() => this.#draw());
  }

  /** @param {boolean} dry */
  #order(dry) {
    const checked = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id)).checked;
    return { unused_days: Number(this.days.value), dry_run: dry, include_sample: checked("with-sample"), include_linked: checked("with-linked") };
  }

  #forget() {
    this.found = null;
    this.#complain("");
    this.#draw();
  }

  /** @param {string} text */
  #complain(text) {
    byId("prune-error").textContent = text;
    byId("prune-error").hidden = text === "";
  }

  async #look() {
    this.#forget();
    if (!(Number(this.days.value) >= 1)) return this.#complain(t("admin.pruneBad"));
    try {
      this.found = await prune(this.#order(true));
    } catch (error) {
      return this.#complain(explain(error));
    }
    this.#draw();
  }

  async #go() {
    const found = this.found;
    if (!found) return;
    const words = { title: this.#sentence(found), text: found.avatars.map((each) => each.avatar_id).join(", "), yes: t("admin.pruneYes"), no: t("admin.pruneNo") };
    if (!(await sure(words))) return;
    try {
      const done = await prune(this.#order(false));
      toast(t("admin.pruned", { n: done.total, bytes: size(done.bytes) }));
      const failed = Object.entries(done.failed);
      if (failed.length) toast(t("admin.pruneFailed", { n: failed.length, what: failed.map((each) => each.join(": ")).join(", ") }), "bad");
    } catch (error) {
      toast(explain(error), "bad");
    }
    this.#forget();
    this.changed();
  }

  /** @param {import("./admin-api.js").Pruned} found */
  #sentence(found) {
    const key = found.total === 0 ? "admin.pruneNothing" : found.total === 1 ? "admin.pruneFoundOne" : "admin.pruneFound";
    return t(key, { n: found.total, bytes: size(found.bytes) });
  }

  #draw() {
    const found = this.found;
    byId("prune-found").hidden = found === null;
    if (!found) return;
    write(byId("prune-words"), this.#sentence(found));
    this.rows.show(found.avatars);
    byId("prune-buttons").hidden = found.total === 0;
    const kept = Object.entries(found.kept).filter(([why]) => has(`admin.kept.${why}`)).map(([why, n]) => t(`admin.kept.${why}`, { n }));
    write(byId("prune-kept"), kept.length ? t("admin.pruneKept", { what: kept.join(", ") }) : "");
  }
}
