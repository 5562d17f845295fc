/** How good the connection is, judged from two looks at the receiver's own counters. */

/**
 * @typedef {object} Look
 * @property {number} at ms
 * @property {number} packets video packets received
 * @property {number} lost video packets lost
 * @property {number} frames video frames decoded
 * @property {number} frozen seconds the picture stood still
 * @property {number} audioPackets
 * @property {number} audioEnergy
 * @property {number} concealed sound samples that had to be made up
 * @property {number} samples sound samples played
 */

/** @param {RTCPeerConnection} pc @returns {Promise<Look>} */
export async function look(pc) {
  const seen = { at: performance.now(), packets: 0, lost: 0, frames: 0, frozen: 0 };
  const sound = { audioPackets: 0, audioEnergy: 0, concealed: 0, samples: 0 };
  for (const report of (await pc.getStats()).values()) {
    if (report.type !== "inbound-rtp") continue;
    if (report.kind === "video") {
      seen.packets = report.packetsReceived ?? 0;
      seen.lost = report.packetsLost ?? 0;
      seen.frames = report.framesDecoded ?? 0;
      seen.frozen = report.totalFreezesDuration ?? 0;
    } else if (report.kind === "audio") {
      sound.audioPackets = report.packetsReceived ?? 0;
      sound.audioEnergy = report.totalAudioEnergy ?? 0;
      sound.concealed = report.concealedSamples ?? 0;
      sound.samples = report.totalSamplesReceived ?? 0;
    }
  }
  return { ...seen, ...sound };
}

/**
 * good; weak: losses over 5 %, the picture stood still for a third of the time, or a tenth of the sound was made up;
 * silent: nothing arrived at all. Sound and picture are sent without a pause, so silence means a broken way.
 * @param {Look} before @param {Look} now @returns {"good" | "weak" | "silent"}
 */
export function judge(before, now) {
  const packets = now.packets - before.packets;
  const sound = now.audioPackets - before.audioPackets;
  if (packets <= 0 && sound <= 0) return "silent";
  const lost = Math.max(0, now.lost - before.lost);
  const seconds = Math.max(0.001, (now.at - before.at) / 1000);
  if (lost / Math.max(1, lost + packets) > 0.05) return "weak";
  if ((now.frozen - before.frozen) / seconds > 0.33) return "weak";
  if ((now.concealed - before.concealed) / Math.max(1, now.samples - before.samples) > 0.1) return "weak";
  return "good";
}

/** Judges look after look. A single bad second is no news: the connection is weak when two looks in a row were bad. */
export class LinkWatch {
  constructor() {
    /** @type {Look | null} */
    this.seen = null;
    this.bad = 0;
    this.silent = 0;
  }

  get weak() {
    return this.bad >= 2;
  }

  /** @param {Look} now */
  add(now) {
    const verdict = this.seen ? judge(this.seen, now) : "good";
    this.seen = now;
    this.bad = verdict === "good" ? 0 : this.bad + 1;
    this.silent = verdict === "silent" ? this.silent + 1 : 0;
  }
}
