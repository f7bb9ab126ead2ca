/** The page: a microphone or a file -> lines of who speaks when. Nothing leaves the browser. */

import { Listening, type Event } from "./listening.js";

const [SAMPLE_RATE_HZ, BLOCK_SAMPLES] = [16_000, 1_600];
const WORKLET = `registerProcessor("samples", class extends AudioWorkletProcessor {
  process(inputs) { if (inputs[0][0]) this.port.postMessage(inputs[0][0].slice()); return true; }
});`;

const status = document.querySelector<HTMLElement>("#status")!;
const lines = document.querySelector<HTMLElement>("#events")!;
const bundle = new URLSearchParams(location.search).get("bundle") ?? "speaker.lupi";

function show(events: Event[]): void {
  for (const event of events) {
    const line = lines.appendChild(document.createElement("li"));
    line.textContent = `${event.start.toFixed(1)} to ${event.time.toFixed(1)} s  ${event.label}  (${event.score.toFixed(2)})`;
  }
}

/** Every sample of a sound in its turn -> all events, and milliseconds for each hop. */
export async function listenTo(samples: Float32Array): Promise<{ events: Event[]; hopMs: number[] }> {
  const listening = await Listening.open(bundle);
  const events: Event[] = [];
  for (let at = 0; at < samples.length; at += BLOCK_SAMPLES) events.push(...(await listening.push(samples.subarray(at, at + BLOCK_SAMPLES))));
  events.push(...(await listening.finish()));
  show(events);
  return { events, hopMs: listening.hopMs };
}

async function listenToFile(file: File): Promise<void> {
  const context = new OfflineAudioContext(1, 1, SAMPLE_RATE_HZ); // decodes to its own rate
  const sound = await context.decodeAudioData(await file.arrayBuffer());
  const { hopMs } = await listenTo(sound.getChannelData(0));
  status.textContent = `${file.name}: ${sound.duration.toFixed(1)} s, ${(hopMs.reduce((a, b) => a + b, 0) / hopMs.length).toFixed(1)} ms for each hop`;
}

async function listenToMicrophone(): Promise<void> {
  const listening = await Listening.open(bundle);
  const media = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, autoGainControl: false, noiseSuppression: false } });
  const context = new AudioContext({ sampleRate: SAMPLE_RATE_HZ });
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" })));
  const node = new AudioWorkletNode(context, "samples");
  let order: Promise<void> = Promise.resolve(); // blocks are heard one after the other
  node.port.onmessage = (message) => {
    order = order.then(async () => show(await listening.push(message.data)));
  };
  context.createMediaStreamSource(media).connect(node);
  status.textContent = "listening";
}

const guarded = (work: () => Promise<void>) => work().catch((error: Error) => { status.textContent = error.message; });

document.querySelector("#microphone")!.addEventListener("click", () => guarded(listenToMicrophone));
document.querySelector<HTMLInputElement>("#file")!.addEventListener("change", (change) => {
  const file = (change.target as HTMLInputElement).files?.[0];
  if (file) guarded(() => listenToFile(file));
});
Object.assign(window, { listenTo });
