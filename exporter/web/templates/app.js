/* Keeps the status page current: fetches it again and changes only what differs, so that scroll, focus,
   selected text and open details stay. The page works without it. */
"use strict";
(() => {
  const LONGEST = 300;
  const updated = document.getElementById("updated");
  const refresh = document.getElementById("refresh");
  const pause = document.getElementById("pause");
  const trouble = document.getElementById("trouble");
  let timer = 0;
  let failures = 0;
  let paused = false;
  let busy = false;
  let due = 0;
  let etag = "";

  // -- exchange ---------------------------------------------------------------------------------

  const keyOf = (node) => (node.nodeType === 1 ? node.dataset?.key || node.id || "" : "");
  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

  function sameAttributes(old, next) {
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of [...old.attributes]) {
      // Whether a details element is open is the visitor's choice; "fresh" is our own mark.
      if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
  }

  function morph(old, next) {
    if (old.nodeType !== 1) {
      if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
      return;
    }
    if (old.hasAttribute("data-keep")) return;
    sameAttributes(old, next);
    const wanted = [...next.childNodes];
    const keys = new Set(wanted.map(keyOf).filter(Boolean));
    const byKey = new Map();
    for (const child of [...old.childNodes]) {
      const key = keyOf(child);
      if (!key) continue;
      // What is gone leaves first, so that what stays need not be moved: moving would take the focus away.
      if (keys.has(key)) byKey.set(key, child);
      else child.remove();
    }
    let place = old.firstChild;
    for (const child of wanted) {
      const key = keyOf(child);
      const known = key ? byKey.get(key) : place;
      if (known && alike(known, child)) {
        if (known === place) place = place.nextSibling;
        else old.insertBefore(known, place);
        morph(known, child);
      } else {
        const made = document.importNode(child, true);
        if (made.nodeName === "TR") made.classList.add("fresh");
        old.insertBefore(made, place);
      }
    }
    while (place) {
      const after = place.nextSibling;
      place.remove();
      place = after;
    }
  }

  function exchange(text) {
    const next = new DOMParser().parseFromString(text, "text/html");
    const content = next.getElementById("content");
    if (!content) throw new Error("this is not the status page");
    const focused = document.activeElement;
    const seen = marks(focused);
    morph(document.getElementById("content"), content);
    morph(document.getElementById("footer"), next.getElementById("footer"));
    document.title = next.title;
    if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
    const mark = seen.find(({ node }) => node.isConnected);
    if (mark) scrollBy({ top: mark.node.getBoundingClientRect().top - mark.top, behavior: "instant" });
  }

  // What is seen now, the focus first, and where; at its top the page need not be held in place.
  function marks(focused) {
    if (scrollY < 1) return [];
    return [focused, ...document.querySelectorAll("#content [data-key]")]
      .filter((node) => node && document.getElementById("content").contains(node))
      .map((node) => ({ node, top: node.getBoundingClientRect().top }))
      .filter(({ top }) => top >= 0 && top < innerHeight);
  }

  // -- when -------------------------------------------------------------------------------------

  const seconds = () => Number(document.documentElement.dataset.refresh) || 30;

  function plan() {
    clearTimeout(timer);
    const wait = Math.min(seconds() * 2 ** failures, Math.max(LONGEST, seconds()));
    due = Date.now() + wait * 1000;
    if (!paused && !document.hidden) timer = setTimeout(update, wait * 1000);
    return wait;
  }

  function say(time) {
    const shown = time.toLocaleTimeString("en-GB");
    updated.textContent = paused ? `Paused at ${shown}` : `Updated ${shown}`;
  }

  async function update() {
    if (busy) return;
    busy = true;
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await fetch(location.href, { headers, cache: "no-store", credentials: "same-origin" });
      if (answer.status !== 304) {
        if (!answer.ok) throw new Error(`the exporter answered ${answer.status}`);
        exchange(await answer.text());
        etag = answer.headers.get("ETag") || "";
      }
      failures = 0;
      trouble.hidden = true;
      say(new Date());
      plan();
    } catch (error) {
      failures += 1;
      const wait = plan();
      const reason = error instanceof TypeError ? "the exporter does not answer" : error.message;
      trouble.textContent = `Not updated: ${reason}. What you see is older; next try in ${Math.round(wait)} s.`;
      trouble.hidden = false;
    } finally {
      busy = false;
    }
  }

  refresh.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    update();
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    say(new Date());
    if (paused) clearTimeout(timer);
    else update();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!paused && Date.now() >= due) update();
    else if (!paused) timer = setTimeout(update, due - Date.now());
  });
  pause.hidden = false;
  plan();
})();
