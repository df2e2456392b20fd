"use strict";
// Everything works without this script; it saves while somebody writes, shows changes as they are made, and knows keys.

const editor = document.querySelector("#editor");
const post = (path, values) =>
  fetch(path, { method: "POST", body: new URLSearchParams(values), keepalive: (values.text || "").length < 10000 });

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  // In a small form, such as that of a preference, the keys belong to it.
  const own = event.target.form && event.target.form.querySelector("button:not([data-key])");
  const known = document.querySelector(event.shiftKey ? "[data-key=accept]" : "[data-key=go]");
  const button = event.target.form && known && known.form !== event.target.form ? own : known;
  if (!button) return;
  event.preventDefault();
  button.click();
});

// A page that waits for a model: loaded again once there is news, or the news filled in where something may be typed.
const waiting = document.querySelector("[data-wait]");
if (waiting) {
  const first = waiting.dataset.fill || "open";
  const look = async () => {
    try {
      const now = await (await fetch(waiting.dataset.wait)).json();
      if (now.status === first && now.busy) return void setTimeout(look, 700);
      if (!waiting.dataset.fill) return void location.reload();
      waiting.textContent = now.line;
    } catch {
      setTimeout(look, 2000);
    }
  };
  setTimeout(look, 300);
}

if (editor) {
  const { text, version, form } = editor.elements;
  const [cost, said, pieces] = ["#cost", "#said", "#pieces"].map((id) => document.querySelector(id));
  const [changes, conflict] = ["#changes", "#conflict"].map((id) => document.querySelector(id));
  let saved = text.value, going = null, stopped = false, pause = 0;

  const shown = (some) => some.map(([kind, words]) => {
    const part = document.createElement({ added: "ins", removed: "del" }[kind] || "span");
    part.textContent = words;
    return part;
  });

  const send = async (value) => {
    try {
      const values = { form: form.value, version: version.value, text: value, pieces: changes.open ? "1" : "" };
      const reply = await post(editor.dataset.keep, values);
      const now = await reply.json();
      if (reply.status === 409) {
        stopped = true;
        conflict.querySelector("p").textContent = now.line;
        conflict.querySelector(".buttons").hidden = now.version === null;
        conflict.dataset.version = now.version;
        conflict.hidden = false;
        said.textContent = "";
        return;
      }
      if (!reply.ok) throw new Error(now.line);
      [saved, version.value, said.textContent] = [value, now.version, "Saved"];
      if (now.cost !== null) cost.textContent = now.cost === 1 ? "1 word changed" : `${now.cost} words changed`;
      if (now.pieces) pieces.replaceChildren(...shown(now.pieces));
    } catch {
      said.textContent = "Not saved: the page was stopped or cannot write. What you typed stays here; it is tried again.";
    }
  };

  const keep = async (always) => {
    while (going) await going;
    if (stopped || (text.value === saved && always !== true)) return;
    going = send(text.value);
    await going;
    going = null;
  };

  text.addEventListener("input", () => {
    said.textContent = "";
    clearTimeout(pause);
    pause = setTimeout(keep, 600);
  });
  text.addEventListener("blur", keep);
  addEventListener("pagehide", keep);
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  setInterval(keep, 5000);
  changes.addEventListener("toggle", () => changes.open && keep(true));
  editor.addEventListener("submit", async (event) => {
    // A save under way changes the version that the form must name.
    if (!going) return void (stopped = true);
    event.preventDefault();
    await going;
    editor.requestSubmit(event.submitter);
  });
  addEventListener("beforeunload", (event) => {
    if (!stopped && text.value !== saved && said.textContent.startsWith("Not")) event.preventDefault();
  });
  document.querySelector("#mine").addEventListener("click", () => {
    [version.value, stopped, conflict.hidden] = [conflict.dataset.version, false, true];
    keep(true);
    text.focus();
  });
}
