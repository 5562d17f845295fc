/** From an order to a tutor: upload, checks, preparation, and what came of it, on one card. */

import { ApiError, avatarRecord, nameOf, showPreview } from "./api.js";
import { follow } from "./builds.js";
import { checkList } from "./checks.js";
import { announce, byId, el, icon } from "./dom.js";
import { explain } from "./errors.js";
import { onLanguage, t } from "./i18n.js";
import { ProgressView } from "./progress.js";
import { fitTo } from "./shape.js";
import { upload } from "./upload.js";

/** @typedef {import("./api.js").AvatarRecord} AvatarRecord */

export class Maker {
  /**
   * @param {import("./preview.js").Preview} preview
   * @param {() => void} onChange the list of avatars has changed
   * @param {(keep: "all" | "fields" | "nothing") => void} onBack back to the form, with what was in it
   */
  constructor(preview, onChange, onBack) {
    this.preview = preview;
    this.onChange = onChange;
    /** @type {AvatarRecord | null} */
    this.record = null;
    /** @type {unknown} */
    this.error = null;
    this.id = "";
    this.name = "";
    this.sent = { done: 0, total: 0 };
    this.progress = new ProgressView();
    this.stopFollowing = () => {};
    /** @type {AbortController | null} */
    this.sending = null;
    fitTo(byId("work-still"), /** @type {HTMLImageElement} */ (byId("work-still")));
    byId("work-still").addEventListener("error", () => this.#picture(""));
    byId("cancel").addEventListener("click", () => this.sending?.abort());
    byId("more").addEventListener("click", () => {
      const keep = this.record?.state === "ready" ? "nothing" : this.#clipAtFault ? "fields" : "all";
      this.reset();
      onBack(keep);
    });
    this.onCancelled = () => onBack("all");
    onLanguage(() => this.#draw());
  }

  /** Another clip would help; else the same one may be sent again. */
  get #clipAtFault() {
    if (this.error instanceof ApiError) return this.error.status === 413 || this.error.status === 422;
    return this.record?.state === "failed";
  }

  get working() {
    return !byId("work").hidden;
  }

  /** @param {import("./upload.js").Order} order @param {string} still a picture of the clip, or "" */
  async make(order, still) {
    this.reset();
    this.id = order.id;
    this.name = order.name || nameOf(order.id);
    this.sending = new AbortController();
    this.#picture(still);
    this.#open();
    try {
      const answer = await upload(
        order,
        (done, total) => {
          this.sent = { done, total };
          this.#draw();
        },
        this.sending.signal,
      );
      this.sending = null;
      this.onChange();
      this.#take(avatarRecord({ progress: 0, stage: "queued", tutor_id: order.name, ...answer, state: answer.state ?? "preparing" }));
      this.follow(order.id);
    } catch (error) {
      this.sending = null;
      if (error instanceof ApiError && error.code === "aborted") {
        this.reset();
        announce(t("teacher.cancelled"));
        this.onCancelled();
        return;
      }
      this.error = error;
      this.#draw();
    }
  }

  /** Watch an avatar that is being prepared. @param {string} id */
  follow(id) {
    this.id = id;
    this.stopFollowing();
    this.stopFollowing = follow(
      id,
      (record) => this.#take(record),
      (error) => {
        this.error = error;
        this.#draw();
        this.onChange();
      },
    );
  }

  /** Show one of the list: ready to speak, being prepared, or why it failed. @param {AvatarRecord} record */
  show(record) {
    this.reset();
    this.id = record.id;
    this.#open();
    this.#take(record);
    if (record.state === "preparing") this.follow(record.id);
  }

  reset() {
    this.stopFollowing();
    this.stopFollowing = () => {};
    this.sending?.abort();
    this.sending = null;
    this.record = null;
    this.error = null;
    this.sent = { done: 0, total: 0 };
    this.progress.reset();
    void this.preview.close();
    byId("work").hidden = true;
  }

  #open() {
    byId("work").hidden = false;
    this.#draw();
    byId("work").focus({ preventScroll: true });
    byId("work").scrollIntoView({ block: "nearest" });
  }

  /** @param {string} source */
  #picture(source) {
    /** @type {HTMLImageElement} */
    const still = byId("work-still");
    still.hidden = !source;
    if (source) still.src = source;
    else still.removeAttribute("src");
  }

  /** @param {AvatarRecord} record */
  #take(record) {
    const before = this.record?.state;
    this.record = record;
    if (record.state === "ready" && before !== "ready") {
      this.#picture("");
      this.preview.open(record.id);
      announce(t("teacher.readyTitle", { name: record.name }));
      this.onChange();
    } else if (record.state === "failed" && before !== "failed") {
      announce(t("teacher.failedTitle"));
      this.onChange();
    }
    this.#draw();
  }

  #draw() {
    if (!this.working) return;
    const record = this.record;
    const name = record?.name || this.name;
    const failed = this.error !== null || record?.state === "failed";
    const ready = !failed && record?.state === "ready";
    byId("work").dataset.outcome = failed ? "failed" : ready ? "ready" : "working";
    const broken = failed && !this.#clipAtFault;
    const title = broken ? "broken" : failed ? "failed" : ready ? "ready" : "working";
    byId("work-title").textContent = t(`teacher.${title}Title`, { name });
    byId("work-lead").textContent = title === "working" ? "" : t(`teacher.${title}Text`);
    byId("work-lead").hidden = title === "working";
    byId("progress").hidden = failed || ready;
    byId("after").hidden = !failed && !ready;
    byId("open").hidden = !ready;
    /** @type {HTMLAnchorElement} */ (byId("open")).href = `/?tutor=${encodeURIComponent(this.id)}`;
    byId("more").textContent = t(broken ? "teacher.back" : failed ? "teacher.tryAnother" : "teacher.makeAnother");
    this.#drawChecks(failed, ready);
    if (failed || ready) this.progress.reset();
    else this.#drawProgress();
  }

  /** @param {boolean} failed @param {boolean} ready */
  #drawChecks(failed, ready) {
    const seen = (this.record?.quality.length ?? 0) > 0;
    byId("checks").hidden = !(failed || ready || seen);
    if (this.error !== null) {
      const line = el("li", { class: "check error" }, el("span", { class: "check-mark" }, icon("cross")), explain(this.error));
      byId("check-list").replaceChildren(line);
    } else if (this.record) byId("check-list").replaceChildren(...checkList(this.record));
  }

  #drawProgress() {
    const record = this.record;
    this.progress.show(record, this.sent);
    byId("cancel").hidden = record !== null;
    byId("leave-hint").textContent = t(record === null ? "teacher.leaveHint" : "teacher.leaveNow");
    // The server has a still of its own once it has looked at the clip.
    if (record && byId("work-still").hidden && record.stage === "preparing_engine") {
      byId("work-still").hidden = false;
      void showPreview(/** @type {HTMLImageElement} */ (byId("work-still")), record.id);
    }
  }
}
