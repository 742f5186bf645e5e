// Keeps the first page of a list fresh, so that calls appear by themselves. Pages work without it.
"use strict";

const EVERY_MS = 5000;
const live = document.querySelector("[data-live]");

// Nothing is replaced under somebody's hands.
function isInUse() {
  return document.hidden || live.contains(document.activeElement) || live.querySelector("details[open]") !== null;
}

async function refresh() {
  if (isInUse()) return;
  const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(EVERY_MS) });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-live]");
  if (fresh !== null && fresh.innerHTML !== live.innerHTML && !isInUse()) {
    live.replaceChildren(...fresh.childNodes);
  }
}

async function keepFresh() {
  // A refresh that fails is made up for by the next one.
  await refresh().catch(() => {});
  setTimeout(keepFresh, EVERY_MS);
}

setTimeout(keepFresh, EVERY_MS);
