/** The tutors to choose from, as a group of radio buttons that look like cards. */

import { showPreview } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { t } from "./i18n.js";

/** @typedef {import("./api.js").AvatarRecord} AvatarRecord */

export class Picker {
  /** @param {(avatar: AvatarRecord | null) => void} onChoice */
  constructor(onChoice) {
    this.box = byId("cards");
    /** @type {AvatarRecord[]} */
    this.avatars = [];
    /** @type {AvatarRecord | null} */
    this.chosen = null;
    this.onChoice = onChoice;
    this.box.addEventListener("change", (event) => {
      const { value } = /** @type {HTMLInputElement} */ (event.target);
      this.choose(this.avatars.find((each) => each.id === value) ?? null);
    });
  }

  /** @param {AvatarRecord[]} avatars those that are ready @param {string | null} wanted an id to choose at once */
  show(avatars, wanted) {
    this.avatars = avatars;
    this.box.setAttribute("aria-busy", "false");
    this.box.classList.toggle("single", avatars.length === 1);
    this.box.replaceChildren(...avatars.map((avatar) => this.#card(avatar)));
    const first = avatars.find((each) => each.id === wanted) ?? avatars[0] ?? null;
    if (avatars.length === 0) this.#empty();
    this.choose(first);
  }

  /** @param {AvatarRecord | null} avatar */
  choose(avatar) {
    this.chosen = avatar;
    for (const input of this.box.querySelectorAll("input")) input.checked = input.value === avatar?.id;
    this.onChoice(avatar);
  }

  wait() {
    this.box.setAttribute("aria-busy", "true");
    this.box.replaceChildren(el("p", { class: "waiting", "data-i18n": "student.loading" }, t("student.loading")));
  }

  #empty() {
    this.box.replaceChildren(
      el(
        "div",
        { class: "empty" },
        el("h2", { "data-i18n": "student.emptyTitle" }, t("student.emptyTitle")),
        el("p", { "data-i18n": "student.emptyText" }, t("student.emptyText")),
        el("a", { class: "button primary", href: "/teacher", "data-i18n": "student.emptyAction" }, t("student.emptyAction")),
      ),
    );
  }

  /** @param {AvatarRecord} avatar */
  #card(avatar) {
    const picture = /** @type {HTMLImageElement} */ (el("img", { alt: "", loading: "lazy", width: "72", height: "72" }));
    void showPreview(picture, avatar.id);
    picture.addEventListener("error", () => picture.replaceWith(el("span", { class: "noface" }, icon("face"))));
    return el(
      "label",
      { class: "card" },
      el("input", { type: "radio", name: "tutor", value: avatar.id, class: "sr" }),
      picture,
      el("span", { class: "card-name", ...(avatar.sample ? { "data-i18n": "tutor.sample" } : {}) }, avatar.name),
      el("span", { class: "card-tick" }, icon("check")),
    );
  }
}
