/** Captions: words as they are heard, gathered into lines that stay still while they fill. */

const WIDE = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/;
const CLOSING = /^[,.!?;:)\]}…，。！？；：、）」』]/;

/** Words joined as they are written: Chinese and Japanese without spaces. @param {string[]} words */
export function join(words) {
  let text = "";
  for (const word of words) text += gap(text, word) + word;
  return text;
}

/** What stands between a text and the next word. @param {string} text @param {string} word */
export function gap(text, word) {
  if (!text || !word || CLOSING.test(word)) return "";
  return WIDE.test(text[text.length - 1]) || WIDE.test(word[0]) ? "" : " ";
}

/** Width of a word on the screen, in Latin letters. @param {string} word */
function width(word) {
  let sum = 1;
  for (const letter of word) sum += WIDE.test(letter) ? 2 : 1;
  return sum;
}

/** The words of the line being heard. A line is full at `room` letters; then the next one begins empty. */
export class CaptionLine {
  /** @param {number} [room] */
  constructor(room = 72) {
    this.room = room;
    /** @type {string[]} */
    this.words = [];
    this.utterance = "";
    this.used = 0;
    this.index = -1;
  }

  /** @param {{utterance_id: string, index: number, word: string}} caption @returns {boolean} whether it is new */
  add({ utterance_id, index, word }) {
    if (utterance_id !== this.utterance) {
      this.clear();
      this.utterance = utterance_id;
      this.index = -1;
    }
    if (index <= this.index) return false; // heard already: a second channel, or one that came back
    this.index = index;
    if (this.used + width(word) > this.room) this.clear();
    this.words.push(word);
    this.used += width(word);
    return true;
  }

  clear() {
    this.words = [];
    this.used = 0;
  }
}

/** Shows a `CaptionLine` over the picture. It is hidden from screen readers: they get whole sentences elsewhere. */
export class CaptionView {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
    this.line = new CaptionLine(window.matchMedia("(max-width: 700px)").matches ? 48 : 72);
  }

  /** @param {{utterance_id: string, index: number, word: string}} caption */
  word(caption) {
    if (!this.line.add(caption)) return;
    window.clearTimeout(this.timer);
    const box = document.createElement("p");
    const text = document.createElement("span");
    box.append(text);
    let said = "";
    for (const [position, word] of this.line.words.entries()) {
      text.append(gap(said, word));
      said += word;
      const span = document.createElement("span");
      span.textContent = word;
      if (position === this.line.words.length - 1) span.className = "now";
      text.append(span);
    }
    this.box.replaceChildren(box);
    this.box.hidden = false;
  }

  /** Nothing more is said: let the last words stand for a moment. @param {number} [wait] ms */
  rest(wait = 1800) {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.clear(), wait);
  }

  clear() {
    window.clearTimeout(this.timer);
    this.line.clear();
    this.box.hidden = true;
    this.box.replaceChildren();
  }
}
