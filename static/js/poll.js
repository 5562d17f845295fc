/** Asking again and again, each question at its own pace, and not at all while nobody looks at the tab. */

export class Poll {
  constructor() {
    /** @type {{ask: () => Promise<void>, ms: number, timer: number, busy: boolean}[]} */
    this.jobs = [];
    this.running = false;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#sleep();
      else if (this.running) this.#wake();
    });
  }

  /** @param {() => Promise<void>} ask must not throw @param {number} ms from an answer to the next question */
  add(ask, ms) {
    this.jobs.push({ ask, ms, timer: 0, busy: false });
  }

  start() {
    this.running = true;
    if (!document.hidden) this.#wake();
  }

  /** Ask nothing more until it is started again. */
  stop() {
    this.running = false;
    this.#sleep();
  }

  /** Ask one question now. @param {() => Promise<void>} ask one that was added */
  async now(ask) {
    const job = this.jobs.find((each) => each.ask === ask);
    if (job) await this.#run(job);
  }

  #wake() {
    for (const job of this.jobs) void this.#run(job);
  }

  #sleep() {
    for (const job of this.jobs) window.clearTimeout(job.timer);
  }

  /** @param {{ask: () => Promise<void>, ms: number, timer: number, busy: boolean}} job */
  async #run(job) {
    if (job.busy) return;
    window.clearTimeout(job.timer);
    job.busy = true;
    try {
      await job.ask();
    } finally {
      job.busy = false;
    }
    if (this.running && !document.hidden) job.timer = window.setTimeout(() => void this.#run(job), job.ms);
  }
}
