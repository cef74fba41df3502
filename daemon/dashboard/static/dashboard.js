"use strict";
// Puts what the server renders in the place of what was there, and lets relative times tick. It loads nothing.
(() => {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  // The server's clock counts, not the one of whoever looks.
  const skew = Date.parse(document.body.dataset.now) - Date.now();

  function ago(at) {
    const past = (Date.now() + skew - Date.parse(at)) / 1000;
    const seconds = Math.floor(Math.abs(past));
    const [unit, size] = units.find(([, size]) => seconds >= size) || ["", 0];
    if (!size) return "now";
    const span = `${Math.floor(seconds / size)} ${unit}`;
    return past > 0 ? `${span} ago` : `in ${span}`;
  }

  function tick() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = ago(time.dateTime);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  function put(name, html) {
    const before = document.querySelector(`[data-part="${CSS.escape(name)}"]`);
    if (!before) return;
    const template = document.createElement("template");
    template.innerHTML = html.trim();
    const now = template.content.firstElementChild;
    if (before.dataset.shown && before.dataset.shown !== now.dataset.shown) {
      now.classList.add("flipped", now.dataset.shown);
    }
    // What somebody opened stays open.
    const opened = before.querySelectorAll("details");
    now.querySelectorAll("details").forEach((one, n) => { one.open = Boolean(opened[n] && opened[n].open); });
    before.replaceWith(now);
  }

  const pulse = document.querySelector(".pulse");
  const live = document.body.dataset.live;
  if (live && pulse) {
    const source = new EventSource(live);
    const say = (yes, text) => { pulse.dataset.live = yes; pulse.textContent = text; };
    source.addEventListener("open", () => say("yes", "live"));
    source.addEventListener("error", () => say("no", "not connected; what you see may be old"));
    source.addEventListener("parts", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) put(name, html);
      tick();
    });
  }
  setInterval(tick, 1000);
  tick();
})();
