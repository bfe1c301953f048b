// Speaking a prompt, where the browser recognises speech.
import { element } from "./page.mjs";

const WHY = { "not-allowed": "the microphone is not allowed", "no-speech": "nothing was heard", network: "the browser's recognition has no network", "audio-capture": "there is no microphone", "service-not-allowed": "the browser does not allow its recognition here", "language-not-supported": "the language is not known" };

/** Whether speech is recognised without leaving this machine. */
async function staysHere(Recognition, lang) {
  try {
    return (await Recognition.available?.({ langs: [lang], processLocally: true })) === "available";
  } catch {
    return false;
  }
}

/** Put a button beside others that listens once and hands what it hears to `run`. */
export function offerSpeech(buttons, run, say) {
  const Recognition = globalThis.SpeechRecognition ?? globalThis.webkitSpeechRecognition;
  if (!Recognition) return;
  const lang = "en-US";
  const button = element("button", "speak", "Speak");
  const note = element("p", "speech-note", "The browser's own recognition listens; it may send what you say to its maker.");
  button.type = "button";
  note.id = "speech-note";
  button.setAttribute("aria-describedby", note.id);
  let listening = null;
  const end = (text) => {
    listening = null;
    button.textContent = "Speak";
    if (text) note.textContent = text;
  };
  const begin = async () => {
    listening = new Recognition();
    listening.lang = lang;
    if (await staysHere(Recognition, lang)) listening.processLocally = true;
    listening.addEventListener("result", ({ results }) => { const heard = results[0][0].transcript.trim(); if (heard) run(heard.toLowerCase()); });
    listening.addEventListener("error", ({ error }) => { end(`Not understood: ${WHY[error] ?? error}.`); say(note.textContent); });
    listening.addEventListener("end", () => end(""));
    button.textContent = "Listening…";
    listening.start();
  };
  button.addEventListener("click", () => { if (listening) listening.stop(); else begin(); });
  buttons.insertBefore(button, buttons.children[1]);
  buttons.after(note);
  staysHere(Recognition, lang).then((here) => { if (here) note.textContent = "The browser's own recognition listens, on this machine."; });
}
