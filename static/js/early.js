// Runs before the first paint: colours, motion, text size and language as the visitor chose them, or as the device has them.
(function () {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = (key) => {
    try {
      return window.localStorage.getItem(key);
    } catch {
      return null; // storage may be forbidden: the device's own settings hold then
    }
  };
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const paint = () => {
    root.dataset.theme = stored("lectern.theme") || (dark.matches ? "dark" : "light");
    root.dataset.motion = stored("lectern.motion") || (still.matches ? "calm" : "lively");
    root.dataset.text = stored("lectern.text") || "1";
  };
  paint();
  dark.addEventListener("change", paint);
  still.addEventListener("change", paint);
  const language = stored("lectern.language") || navigator.language || "en";
  root.lang = language.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
})();
