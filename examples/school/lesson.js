/** A student's lesson: the school's own server starts it, sound, picture and words come from Lectern. */

const byId = (id) => document.getElementById(id);
const tutor = new URLSearchParams(location.search).get("tutor");

let lesson = null;
let connection = null;
let socket = null;

/** A call to the school's own server. What it says of a failure is for the student to read. */
async function school(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.status === 204 ? null : response.json();
}

/** All ways that the browser finds within two seconds, so that one offer is enough. */
function gathered(pc) {
  return new Promise((resolve) => {
    setTimeout(resolve, 2000);
    pc.addEventListener("icegatheringstatechange", () => pc.iceGatheringState === "complete" && resolve());
  });
}

/** Sound and picture, by WHEP. */
async function watch() {
  connection = new RTCPeerConnection({
    iceServers: lesson.ice_servers,
    iceTransportPolicy: lesson.ice_transport_policy,
    bundlePolicy: "max-bundle",
  });
  const stream = new MediaStream(); // both in one: the browser keeps them in step
  connection.addEventListener("track", (event) => stream.addTrack(event.track));
  connection.addTransceiver("video", { direction: "recvonly" });
  connection.addTransceiver("audio", { direction: "recvonly" });
  await connection.setLocalDescription();
  await gathered(connection);
  const answer = await fetch(lesson.whep_url, {
    method: "POST",
    headers: { Authorization: `Bearer ${lesson.token}`, "Content-Type": "application/sdp" },
    body: connection.localDescription.sdp,
  });
  if (!answer.ok) throw new Error((await answer.json()).detail);
  await connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  byId("tutor").srcObject = stream;
  await byId("tutor").play();
}

/** Questions and captions, by WebSocket. */
function talk() {
  socket = new WebSocket(lesson.engine_url);
  socket.addEventListener("message", ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "speech_started") byId("caption").textContent = "";
    if (message.type === "caption") byId("caption").textContent += `${message.word} `;
    if (message.type === "error") byId("caption").textContent = message.message;
  });
  return new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve);
    socket.addEventListener("error", () => reject(new Error("The tutor is not to be reached.")));
  });
}

async function begin() {
  byId("begin").hidden = true;
  byId("caption").textContent = "";
  byId("transcript").replaceChildren();
  try {
    lesson = await school("POST", "/lessons", { tutor_id: tutor });
    await Promise.all([talk(), watch()]);
    byId("ask").hidden = byId("end").hidden = false;
  } catch (error) {
    leave();
    byId("caption").textContent = error.message;
    byId("begin").hidden = false;
  }
}

/** Let go of sound, picture and words. */
function leave() {
  connection?.close();
  socket?.close();
  connection = socket = null;
  byId("tutor").srcObject = null;
}

async function end() {
  byId("ask").hidden = byId("end").hidden = true;
  leave();
  try {
    await finish();
  } catch (error) {
    byId("caption").textContent = error.message;
  }
  byId("begin").hidden = false;
}

/** End the lesson, and show what was said in it. */
async function finish() {
  await school("DELETE", `/lessons/${lesson.lesson_id}`);
  for (const { who, text } of await school("GET", `/lessons/${lesson.lesson_id}/transcript`)) {
    const line = document.createElement("li");
    line.textContent = `${who === "student" ? "You" : "Tutor"}: ${text}`;
    byId("transcript").append(line);
  }
}

byId("begin").addEventListener("click", begin);
byId("end").addEventListener("click", end);
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  socket?.send(JSON.stringify({ type: "text", text: byId("question").value }));
  byId("question").value = "";
});
