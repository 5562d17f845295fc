/**
 * The microphone: asked for, metered, given back.
 *
 * Events: `change`, whenever `state` or `trouble` is another.
 */

/** @typedef {"off" | "asking" | "on"} MicrophoneState */

/** What the browser's refusals mean. @type {Record<string, string>} */
const TROUBLES = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "none",
  OverconstrainedError: "none",
  NotReadableError: "busy",
  AbortError: "busy",
};
/** dB below full scale that the meter shows as nothing, and as everything. */
const FLOOR = -55;
const CEILING = -12;
/** dB; a microphone below this is muted or broken: an open one is never that quiet. */
const DEAD = -85;

/** How loud samples (-1..1) are, in dB below full scale. @param {Float32Array} samples */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
}

/** A level for a meter, 0..1. @param {number} decibels */
export function level(decibels) {
  return Math.max(0, Math.min(1, (decibels - FLOOR) / (CEILING - FLOOR)));
}

export class Microphone extends EventTarget {
  constructor() {
    super();
    /** @type {MicrophoneState} */
    this.state = "off";
    /** Why it could not be had: denied, none, busy, insecure, lost. "" for no trouble. */
    this.trouble = "";
    /** @type {MediaStreamTrack | null} */
    this.track = null;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {AnalyserNode | null} */
    this.analyser = null;
    /** Counts the wishes, so that an answer that comes too late is known. */
    this.wish = 0;
    this.samples = new Float32Array(1024);
  }

  /** Ask for it; resolves to the track, or to null (then `trouble` says why, unless it was closed meanwhile). */
  async open() {
    if (this.track) return this.track;
    const wish = (this.wish += 1);
    if (!navigator.mediaDevices?.getUserMedia) {
      this.#become("off", window.isSecureContext ? "none" : "insecure");
      return null;
    }
    this.#become("asking", "");
    try {
      // The tutor's own voice comes out of the loudspeaker: without echo cancellation it would interrupt itself.
      const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
      const stream = await navigator.mediaDevices.getUserMedia({ audio, video: false });
      const [track] = stream.getAudioTracks();
      if (wish !== this.wish) {
        track.stop(); // given up while the browser was asking
        return null;
      }
      track.addEventListener("ended", () => {
        if (this.track === track) this.close("lost");
      });
      this.track = track;
      this.#listen(stream);
      this.#become("on", "");
      return track;
    } catch (error) {
      if (wish !== this.wish) return null;
      console.info("lectern: no microphone", error);
      const name = error instanceof DOMException ? error.name : "";
      this.#become("off", TROUBLES[name] ?? "busy");
      return null;
    }
  }

  /** Give it back: the browser's sign that it is in use goes out. @param {string} [trouble] */
  close(trouble = "") {
    this.wish += 1;
    this.track?.stop();
    this.track = null;
    this.analyser = null;
    void this.context?.close().catch((error) => console.info("lectern: the meter was closed already", error));
    this.context = null;
    this.#become("off", trouble);
  }

  /** How loud it is now, in dB below full scale. */
  decibels() {
    if (!this.analyser) return -120;
    this.analyser.getFloatTimeDomainData(this.samples);
    return loudness(this.samples);
  }

  /** Whether what comes is too quiet for an open microphone. @param {number} decibels */
  static dead(decibels) {
    return decibels < DEAD;
  }

  /** @param {MediaStream} stream */
  #listen(stream) {
    this.context = new AudioContext();
    this.analyser = this.context.createAnalyser();
    this.analyser.fftSize = this.samples.length;
    // Not connected to an output: it is measured, not heard.
    this.context.createMediaStreamSource(stream).connect(this.analyser);
  }

  /** @param {MicrophoneState} state @param {string} trouble */
  #become(state, trouble) {
    if (this.state === state && this.trouble === trouble) return;
    this.state = state;
    this.trouble = trouble;
    this.dispatchEvent(new Event("change"));
  }
}
