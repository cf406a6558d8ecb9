// Without this script the page works as well: it then shows the moment at which it was asked for.
"use strict";

const REFRESH_MS = 1000;
const main = document.getElementById("main");

function firstLike(node, place) {
  let each = place;
  while (each && (each.nodeName !== node.nodeName || each.className !== node.className || each.id)) each = each.nextSibling;
  return each;
}

// Makes `old` what `fresh` is, and keeps what is alike: focus, selection and what the mouse is over stay.
function update(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.isEqualNode(fresh)) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // A row that has moved is found by its id.
  const known = new Map([...old.children].filter((each) => each.id).map((each) => [each.id, each]));
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const same = next.id ? known.get(next.id) : firstLike(next, place);
    if (!same) {
      old.insertBefore(next, place);
      continue;
    }
    if (same !== place) old.insertBefore(same, place);
    place = same;
    const behind = place.nextSibling;
    update(place, next);
    place = behind;
  }
  while (place) {
    const behind = place.nextSibling;
    place.remove();
    place = behind;
  }
}

let tag = "";
async function refresh() {
  const lost = document.getElementById("lost");
  try {
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(location.href, { headers, cache: "no-store" });
    if (answer.status === 200) {
      tag = answer.headers.get("ETag") || "";
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const focused = document.activeElement;
      update(main, fresh.getElementById("main"));
      if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
      showDay();
    } else if (answer.status !== 304) {
      throw new Error(String(answer.status));
    }
    lost.hidden = true;
  } catch {
    if (lost.hidden) lost.textContent = `No answer since ${new Date().toLocaleTimeString()}: this is what was known then.`;
    lost.hidden = false;
  }
}

async function refreshForEver() {
  for (;;) {
    await new Promise((wake) => setTimeout(wake, REFRESH_MS));
    if (!document.hidden) await refresh();
  }
}

// The figures of a bar, by mouse and by arrow keys.
const tip = document.createElement("div");
tip.className = "tip";
tip.setAttribute("role", "status");
document.body.append(tip);
const mark = document.createElement("span");
mark.className = "mark";
let shown = null; // The strip, and the place of the day in it.

function wordsOf(strip, place, count) {
  const day = new Date(`${strip.closest("table").dataset.lastDay}T00:00:00Z`);
  day.setUTCDate(day.getUTCDate() - (count - 1 - place));
  const date = day.toISOString().slice(0, 10);
  for (const run of strip.dataset.days.split(" ").filter(Boolean)) {
    const [, first, days, figures] = run.match(/^(\d+)\+(\d+):(.*)$/);
    if (place < Number(first) || place >= Number(first) + Number(days)) continue;
    if (!figures) return `${date}: no figures`;
    const [down, excluded, noData] = figures.split(",").map(Number);
    const parts = [`${down} min down`];
    if (excluded) parts.push(`${excluded} min excluded`);
    if (noData) parts.push(`${noData} min without data`);
    return `${date}: ${parts.join(", ")}`;
  }
  return `${date}: no downtime`;
}

function showDay() {
  if (!shown || !shown.strip.isConnected) return hideDay();
  const { strip, place } = shown;
  const count = strip.querySelector("svg").viewBox.baseVal.width;
  const words = wordsOf(strip, place, count);
  if (tip.textContent !== words) tip.textContent = words;
  strip.append(mark);
  mark.style.left = `${(100 * place) / count}%`;
  mark.style.width = `${100 / count}%`;
  const box = strip.getBoundingClientRect();
  const middle = box.left + (box.width * (place + 0.5)) / count - tip.offsetWidth / 2;
  tip.style.left = `${scrollX + Math.max(4, Math.min(middle, document.documentElement.clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${scrollY + box.top - tip.offsetHeight - 6}px`;
}

function hideDay() {
  shown = null;
  mark.remove();
  tip.textContent = "";
}

function placeOf(strip, x) {
  const box = strip.getBoundingClientRect();
  const count = strip.querySelector("svg").viewBox.baseVal.width;
  return Math.max(0, Math.min(count - 1, Math.floor((count * (x - box.left)) / box.width)));
}

document.addEventListener("pointermove", (event) => {
  const strip = event.target.closest?.(".strip");
  if (strip) {
    shown = { strip, place: placeOf(strip, event.clientX) };
    showDay();
  } else if (shown && shown.strip !== document.activeElement) {
    hideDay();
  }
});
document.addEventListener("focusin", (event) => {
  const strip = event.target.closest?.(".strip");
  if (strip && strip.matches(":focus-visible")) {
    shown = { strip, place: strip.querySelector("svg").viewBox.baseVal.width - 1 };
    showDay();
  }
});
document.addEventListener("focusout", hideDay);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hideDay();
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -1e3, End: 1e3 }[event.key];
  const strip = event.target.closest?.(".strip");
  if (!strip || !step) return;
  event.preventDefault();
  const count = strip.querySelector("svg").viewBox.baseVal.width;
  const from = shown && shown.strip === strip ? shown.place : count - 1;
  shown = { strip, place: Math.max(0, Math.min(count - 1, from + step)) };
  showDay();
});

if (main.hasAttribute("data-live")) refreshForEver();
