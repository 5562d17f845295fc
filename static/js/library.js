/** The list of avatars: picture, state, a link for students, preview and delete. */

import { askForKey } from "./access.js";
import { deleteAvatar, listAvatars, showPreview } from "./api.js";
import { byId, el, icon, toast } from "./dom.js";
import { explain, needsKey } from "./errors.js";
import { onLanguage, t } from "./i18n.js";
import { standing } from "./progress.js";

/** @typedef {import("./api.js").AvatarRecord} AvatarRecord */

export class Library {
  /**
   * @param {(record: AvatarRecord) => void} onShow
   * @param {(id: string) => Promise<void>} beforeDelete lets go of the avatar here
   * @param {() => void} onList the list is new
   */
  constructor(onShow, beforeDelete, onList) {
    this.onShow = onShow;
    this.beforeDelete = beforeDelete;
    this.onList = onList;
    /** @type {AvatarRecord[]} */
    this.records = [];
    this.loaded = false;
    /** @type {unknown} */
    this.error = null;
    /** @type {number | undefined} */
    this.timer = undefined;
    onLanguage(() => this.#draw());
  }

  /** Ids that cannot be used: a failed avatar's may be, its successor takes its place. */
  get taken() {
    return new Set(this.records.filter((record) => record.state !== "failed").map((record) => record.id));
  }

  async refresh() {
    window.clearTimeout(this.timer);
    try {
      this.records = await listAvatars();
      this.error = null;
    } catch (error) {
      if (needsKey(error) && (await askForKey())) return this.refresh();
      this.error = error;
    }
    this.loaded = true;
    this.#draw();
    this.onList();
    // While something is being prepared, or the server is away, look again by itself.
    const busy = this.records.some((record) => record.state === "preparing");
    const away = this.error !== null && !needsKey(this.error);
    if (busy || away) this.timer = window.setTimeout(() => void this.refresh(), busy ? 3000 : 5000);
  }

  #draw() {
    let note = "";
    if (!this.loaded) note = t("teacher.libraryLoading");
    else if (this.error !== null) note = explain(this.error);
    else if (this.records.length === 0) note = t("teacher.libraryEmpty");
    if (byId("library-note").textContent !== note) byId("library-note").textContent = note;
    byId("library-note").hidden = note === "";
    const focused = document.activeElement?.getAttribute("data-key");
    byId("shelf").replaceChildren(...this.records.map((record) => this.#item(record)));
    if (focused) {
      /** @type {HTMLElement | null} */ (byId("shelf").querySelector(`[data-key="${CSS.escape(focused)}"]`))?.focus();
    }
  }

  /** @param {AvatarRecord} record */
  #item(record) {
    const { id, name, state } = record;
    const picture = el("div", { class: "item-picture" });
    if (state === "ready") {
      const still = /** @type {HTMLImageElement} */ (el("img", { alt: "", loading: "lazy" }));
      void showPreview(still, id);
      still.addEventListener("error", () => still.replaceWith(icon("face")));
      picture.append(still);
    } else picture.append(icon(state === "failed" ? "warn" : "clock"));
    const now = standing(record, { done: 0, total: 0 });
    const percent = state === "preparing" && now.measured ? ` · ${Math.floor(now.whole * 100)} %` : "";
    const facts = el(
      "div",
      { class: "item-words" },
      el("h3", {}, name),
      el("p", { class: "item-id" }, id),
      el("p", { class: `badge ${state}` }, t(`teacher.state.${state}`) + percent),
    );
    return el("li", { class: `item ${state}`, "data-id": id }, picture, facts, this.#buttons(record));
  }

  /** @param {AvatarRecord} record */
  #buttons(record) {
    const { id, name, state } = record;
    const buttons = el("div", { class: "item-buttons" });
    const action = t(`teacher.show.${state}`);
    const show = { class: "button small", type: "button", "data-key": `show ${id}`, "aria-label": `${action}: ${name}` };
    buttons.append(el("button", { ...show, onclick: () => this.onShow(record) }, action));
    if (state === "ready") {
      const open = { "aria-label": t("teacher.openNamed", { name }), title: t("teacher.open") };
      const href = `/?tutor=${encodeURIComponent(id)}`;
      buttons.append(el("a", { class: "button small square", href, ...open }, icon("link")));
    }
    const remove = { "data-key": `delete ${id}`, "aria-label": t("teacher.deleteNamed", { name }), title: t("teacher.delete") };
    const ask = () => void this.#ask(record);
    buttons.append(el("button", { class: "button small square", type: "button", ...remove, onclick: ask }, icon("trash")));
    return buttons;
  }

  /** @param {AvatarRecord} record */
  async #ask(record) {
    /** @type {HTMLDialogElement} */
    const dialog = byId("confirm");
    byId("confirm-title").textContent = t("teacher.deleteTitle", { name: record.name });
    dialog.returnValue = "no";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    if (dialog.returnValue !== "yes") return;
    try {
      await this.beforeDelete(record.id);
      await deleteAvatar(record.id);
      toast(t("teacher.deleted", { name: record.name }));
    } catch (error) {
      toast(explain(error), "bad");
    }
    await this.refresh();
    byId("library-title").scrollIntoView({ block: "nearest" });
  }
}
