/** The top bar of both pages: language switch and light or dark. */

import { byId, setIcon } from "./dom.js";
import { language, setLanguage, translate } from "./i18n.js";
import { remember } from "./store.js";

/** Bring the top bar to life and fill the page's words in. @param {string} titleKey the page's title */
export function startChrome(titleKey) {
  const root = document.documentElement;
  const theme = byId("theme");
  const words = byId("language");
  document.querySelector("title")?.setAttribute("data-i18n", titleKey);

  const show = () => {
    const dark = root.dataset.theme === "dark";
    theme.setAttribute("aria-pressed", String(dark));
    setIcon(theme, dark ? "sun" : "moon");
    // The button names the other language in that language's own word.
    const other = language() === "zh" ? ["English", "en"] : ["中文", "zh-CN"];
    byId("language-name").textContent = other[0];
    byId("language-name").lang = other[1];
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember("theme", root.dataset.theme);
    show();
  });
  words.addEventListener("click", () => {
    setLanguage(language() === "zh" ? "en" : "zh");
    show();
  });
  translate();
  show();
}
