// What makes pages livelier; all of them work without it. Lists that things come to by themselves are kept fresh, and the
// keyboard moves through them: j and k, Enter, and / to search.
"use strict";

const live = document.querySelector("[data-live]");

// Nothing is replaced under somebody's hands.
function isInUse() {
  const plays = [...live.querySelectorAll("audio")].some((audio) => !audio.paused);
  const open = live.querySelector("details[open], input:checked") !== null;
  return document.hidden || plays || open || live.contains(document.activeElement);
}

let isStale = false;

async function refresh() {
  if (!isStale || isInUse()) return;
  isStale = false;
  const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-live]");
  if (fresh !== null && fresh.innerHTML !== live.innerHTML && !isInUse()) {
    live.replaceChildren(...fresh.childNodes);
  }
}

function soon() {
  isStale = true;
}

if (live !== null) {
  const company = location.pathname.match(/^\/companies\/\d+\//);
  if (company !== null && live.dataset.live !== "poll") {
    const stream = new EventSource(`${company[0]}live`);
    stream.addEventListener("changed", soon);
    stream.addEventListener("open", soon);
  }
  // What isn't told of, such as progress, and what came while the page was in use.
  setInterval(soon, live.dataset.live === "poll" ? 3000 : 30000);
  setInterval(() => refresh().catch(soon), 1000);
}

function rows() {
  return [...document.querySelectorAll("table.rows tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
}

function move(step) {
  const links = rows();
  if (links.length === 0) return;
  const at = links.indexOf(document.activeElement);
  const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
}

function search() {
  const input = document.querySelector("form.filters input[name=search]");
  if (input === null) return false;
  const around = input.closest("details");
  if (around !== null) around.open = true;
  input.focus();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
  if (event.key === "/" && search()) event.preventDefault();
});

// A form that was sent isn't sent again by a second click: it may buy something.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent === "yes") event.preventDefault();
  form.dataset.sent = "yes";
});

window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});
