// A page as an application would write it around the public clients: what they tell is kept for the test to look at.
import { PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport, WavMediaManager } from "@pipecat-ai/small-webrtc-transport";

const video = document.querySelector("video");
const audio = document.querySelector("audio");
const events = [];

// The default media manager loads a part of itself from its maker's server; this one, of the same package, does not.
// With screen sharing it makes the same three transceivers as the default one. The microphone is a room in which the
// student speaks when the test wants it.
const room = new AudioContext();
const microphone = room.createMediaStreamDestination();
class Devices extends WavMediaManager {
  _supportsScreenShare = true;

  tracks() {
    return { local: { audio: microphone.stream.getAudioTracks()[0] } };
  }
}

async function speak() {
  const answer = await fetch("voice.wav");
  const voice = new AudioBufferSourceNode(room, { buffer: await room.decodeAudioData(await answer.arrayBuffer()) });
  voice.connect(microphone);
  voice.start();
}

const client = new PipecatClient({
  transport: new SmallWebRTCTransport({ mediaManager: new Devices() }),
  enableMic: true,
  enableCam: false,
  callbacks: {
    onTrackStarted: (track, participant) => {
      if (participant?.local) return;
      const element = track.kind === "video" ? video : audio;
      element.srcObject = new MediaStream([track]);
      element.play();
    },
    onTransportStateChanged: (state) => events.push({ type: "state", data: state, at: performance.now() }),
  },
});

for (const type of [
  "BotConnected", "BotDisconnected", "BotReady", "BotStarted", "BotStartedSpeaking", "BotStoppedSpeaking",
  "BotLlmStarted", "BotLlmStopped", "BotLlmText", "BotOutput", "BotTranscript", "BotTtsStarted", "BotTtsStopped",
  "BotTtsText", "Connected", "Disconnected", "Error", "MessageError", "ServerMessage", "UserLlmText", "UserStartedSpeaking",
  "UserStoppedSpeaking", "UserTranscript",
]) {
  client.on(RTVIEvent[type], (data) => events.push({ type, data, at: performance.now() }));
}

// The tutor's sound as it is played.
let meter = null;
function loudness() {
  if (!audio.srcObject) return 0;
  if (meter === null) {
    const analyser = new AnalyserNode(room, { fftSize: 2048 });
    room.createMediaStreamSource(audio.srcObject).connect(analyser);
    meter = { analyser, samples: new Float32Array(2048) };
  }
  meter.analyser.getFloatTimeDomainData(meter.samples);
  return Math.sqrt(meter.samples.reduce((sum, sample) => sum + sample * sample, 0) / meter.samples.length);
}

window.rtvi = {
  client,
  events,
  loudness,
  speak,
  decoded: async () => {
    const reports = [...(await client._transport.pc.getStats()).values()];
    return reports.find((each) => each.type === "inbound-rtp" && each.kind === "video")?.framesDecoded ?? 0;
  },
  frames: () => video.getVideoPlaybackQuality().totalVideoFrames,
  size: () => [video.videoWidth, video.videoHeight],
};
