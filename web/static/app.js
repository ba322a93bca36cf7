// What pages do beyond links and forms: live updates, the grid's keys, logs that grow, dialogs. Every page works without.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const csrf = () => $('meta[name="csrf"]')?.content ?? "";

/* What is said here is written by the server, in the language of the page. */
const said = (name, values = {}) => Object.entries(values).reduce((text, [key, value]) => text.replace(`{${key}}`, value), $("#offline").dataset[name]);

async function ask(method, address, body) {
  const headers = { "X-CSRF-Token": csrf(), "X-Millrace-Page": "1" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(address, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (response.status === 401) location.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
  const answer = response.headers.get("content-type")?.includes("json") ? await response.json() : null;
  if (!response.ok) throw new Error(answer?.detail ?? said("refused", { status: response.status }));
  return answer;
}

/* Theme: a cookie, so that the server draws it right from the start. */
document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-theme-switch]")) return;
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `millrace_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
});

/* Times. */
const isKorean = document.documentElement.lang === "ko";
const units = isKorean ? ["초", "분", "시간", "일"] : [" s", " min", " h", " d"];
function ago(instant) {
  const seconds = Math.trunc((Date.now() - instant) / 1000);
  const n = Math.abs(seconds);
  if (n < 5) return isKorean ? "지금" : "now";
  const text = n < 60 ? n + units[0] : n < 3600 ? Math.trunc(n / 60) + units[1] : n < 172800 ? Math.trunc(n / 3600) + units[2] : Math.trunc(n / 86400) + units[3];
  if (isKorean) return seconds > 0 ? `${text} 전` : `${text} 후`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}
setInterval(() => {
  for (const time of $$("time[data-ago]")) {
    const text = ago(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}, 5000);

/* Keys: `/` searches, `?` shows them all, `g` and a letter goes somewhere. Whoever speaks to the computer turns them off. */
const hasKeys = () => !/(^|; )millrace_keys=off(;|$)/.test(document.cookie);
const keysSwitch = $("[data-keys-switch]");
if (keysSwitch) {
  keysSwitch.checked = hasKeys();
  keysSwitch.addEventListener("change", () => {
    document.cookie = `millrace_keys=${keysSwitch.checked ? "on" : "off"}; path=/; max-age=31536000; samesite=lax`;
  });
}
const search = $("[data-search]");
let going = 0;
// The letter on the key, whatever a keyboard of other letters or Caps Lock makes of it.
const letterOf = (event) => {
  if (event.key.length === 1 && !/^[\x21-\x7e]$/.test(event.key) && /^Key[A-Z]$/.test(event.code)) return event.code.slice(3).toLowerCase();
  return event.key.toLowerCase();
};
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog:not(#keys)");
  if (event.key === "Escape") {
    if (event.target === search) search.blur();
    for (const open of $$("details.menu[open]")) {
      if (open.contains(document.activeElement)) $("summary", open).focus();
      open.removeAttribute("open");
    }
  }
  if (!hasKeys() || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    const inLog = $("[data-log-search]");
    const place = inLog && inLog.offsetParent && event.target.closest?.(".log") ? inLog : search;
    place?.focus();
    place?.select();
  } else if (event.key === "?") {
    showKeys();
  } else if (letterOf(event) === "g") {
    going = Date.now();
    return;
  } else if (Date.now() - going < 1500) {
    const link = $(`[data-go="${CSS.escape(letterOf(event))}"]`);
    if (link) location.href = link.href;
  }
  going = 0;
});
for (const menu of $$("details.menu")) {
  menu.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.removeAttribute("open");
  });
}
function showKeys() {
  const keys = $("#keys");
  if (keys && !keys.open) keys.showModal();
}
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-show-keys]")) showKeys();
  for (const open of $$("details.menu[open]")) if (!open.contains(event.target)) open.removeAttribute("open");
});
/* Where the browser is, the server can't know. */
for (const mine of $$("[data-my-zone]")) {
  mine.value = Intl.DateTimeFormat().resolvedOptions().timeZone;
  $(".muted", mine).textContent = mine.value;
  mine.setAttribute("aria-pressed", String(mine.dataset.myZone === mine.value));
  mine.hidden = mine.value === "UTC";
}
for (const form of $$("[data-at-once]")) {
  $("button", form).hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
function filter() {
  const rows = $$("tr[data-find]");
  if (!rows.length) return;
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => row.dataset.find.includes(word));
    if (!row.hidden) shown++;
  }
  const count = $("h1 .count");
  count.dataset.all ??= count.textContent;
  count.textContent = words.length ? shown : count.dataset.all;
  const none = $("#no-match");
  if (none) none.hidden = shown > 0;
}
search?.addEventListener("input", filter);

/* Pause and run. */
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.dataset.pause) {
    event.preventDefault();
    const button = $("button", form);
    const paused = button.getAttribute("aria-checked") === "true";
    button.setAttribute("aria-checked", String(!paused));
    try {
      await ask("PATCH", `/api/v1/dags/${encodeURIComponent(form.dataset.pause)}`, { is_paused: paused });
      refresh((part) => part.dataset.live === form.dataset.pause);
      form.elements.is_paused.value = String(!paused);
    } catch (error) {
      button.setAttribute("aria-checked", String(paused));
      say(error.message);
    }
  } else if (form.dataset.trigger) {
    event.preventDefault();
    openTrigger(form.dataset.trigger);
  } else if (form.dataset.confirm && !form.dataset.confirmed) {
    event.preventDefault();
    const dialog = $("#confirm");
    const yes = event.submitter ?? $("button", form);
    $("[data-question]", dialog).textContent = form.dataset.confirm;
    $("[data-what]", dialog).textContent = form.dataset.what ?? "";
    $("[data-yes]", dialog).textContent = yes.getAttribute("aria-label") ?? yes.textContent;
    dialog.onclose = () => {
      // What it stood in may have been drawn anew meanwhile, and a form that is nowhere sends nothing.
      if (dialog.returnValue === "yes") {
        if (!form.isConnected) document.body.append(form);
        form.submit();
      }
      dialog.returnValue = "";
    };
    dialog.showModal();
  }
});

/* The form is the server's, also when it comes back with what is wrong. */
async function openTrigger(dag) {
  const dialog = $("#trigger");
  const place = $("[data-form]", dialog);
  $("[data-name]", dialog).textContent = dag;
  try {
    place.replaceChildren(await fetchPart(`/dags/${encodeURIComponent(dag)}/trigger`, "form"));
  } catch (error) {
    return say(error.message);
  }
  place.onsubmit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const button = $("button.primary", form);
    button.disabled = true;
    try {
      const headers = { "X-Part": "form", "X-Millrace-Page": "1" };
      const response = await fetch(form.action, { method: "POST", headers, body: new URLSearchParams(new FormData(form)) });
      const isForm = response.headers.get("content-type")?.startsWith("text/html");
      if (isForm && (response.status === 422 || response.status === 409)) {
        place.innerHTML = await response.text();
        ($("[aria-invalid]", place) ?? $(".problem", place))?.focus();
        return;
      }
      if (!response.ok) throw new Error(said("refused", { status: response.status }));
      const run = await response.json();
      dialog.close();
      if (run.notice) say(run.notice);
      if ($(".split")?.dataset.dag === dag) show(run.page, true);
      else refresh((part) => part.dataset.live === dag);
    } catch (error) {
      say(error.message);
    } finally {
      button.disabled = false;
    }
  };
  // The button that opened it may have been drawn anew meanwhile.
  dialog.onclose = () => {
    if (document.activeElement === document.body) $(`[data-trigger="${CSS.escape(dag)}"] button`)?.focus();
  };
  dialog.showModal();
  $("input:not([type=hidden]), select, textarea", place)?.focus();
}
document.addEventListener("click", (event) => {
  const back = event.target.closest("#trigger [data-close]");
  if (!back) return;
  event.preventDefault();
  $("#trigger").close();
});

function say(text) {
  const place = $("#offline");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.hidden = true; }, 6000);
}

/* Parts of the page that the server draws anew. */
async function fetchPart(address, part, byItself = false) {
  // What nobody asked for keeps no session alive.
  const response = await fetch(address, { headers: { "X-Part": part, "X-Millrace-Page": byItself ? "itself" : "1" } });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(said("refused", { status: response.status }));
  const holder = document.createElement("template");
  holder.innerHTML = await response.text();
  return holder.content;
}
const busy = new Map();
function refresh(wanted) {
  for (const part of $$("[data-live]")) if (wanted(part)) refreshSoon(part);
}
/* At once, and then no more often than every second. */
function refreshSoon(part) {
  const key = part.id;
  const state = busy.get(key);
  if (state) { state.again = true; return; }
  const mine = { again: false };
  busy.set(key, mine);
  redraw(part, true).catch(() => {}).finally(() => setTimeout(() => {
    busy.delete(key);
    const now = document.getElementById(key);
    if (mine.again && now) refreshSoon(now);
  }, 1000));
}
/* What is pressed is not taken away under the finger: a button that is drawn anew between down and up is not pressed. */
let isHeld = false;
for (const name of ["pointerdown", "keydown"]) addEventListener(name, () => { isHeld = true; }, true);
for (const name of ["pointerup", "pointercancel", "keyup", "blur"]) addEventListener(name, () => { isHeld = false; }, true);
async function released() {
  for (let tries = 0; isHeld && tries < 20; tries++) await new Promise((then) => setTimeout(then, 50));
}
async function redraw(part, byItself = false) {
  // One that is no part of its own is taken out of the whole page.
  const isWhole = part.dataset.part === undefined;
  const src = part.dataset.src;
  const fresh = await fetchPart(src ?? location.pathname + location.search, part.dataset.part ?? "", byItself);
  await released();
  const old = document.getElementById(part.id);
  // Somebody has gone on to another place meanwhile.
  if (!old || old.dataset.src !== src) return;
  const isFacts = old.id === "facts";
  // A log that has just begun, also that of a new try, comes with its whole panel.
  if (isFacts && fresh.querySelector("#log")?.dataset.events !== $("#log")?.dataset.events) return replacePanel(fresh, true);
  const next = isFacts || isWhole ? fresh.querySelector(`#${CSS.escape(old.id)}`) : fresh.firstElementChild;
  if (!next) return;
  const box = old.scrollLeft;
  if (old.hidden) next.hidden = true;
  const view = $("[data-graph]", old)?.getAttribute("viewBox");
  swap(old, next);
  if (view) startGraph(view);
  next.scrollLeft = box;
  if (next.dataset.find !== undefined) filter();
}
/* What a person has in hand stays in hand: the focus, what is open, what was typed. */
const HANDLES = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]";
const sign = (one) => [one.tagName, one.id, one.parentElement.id, one.dataset.cell, one.getAttribute("href"), one.form?.getAttribute("action"), one.name, one.type === "checkbox" ? one.value : ""].join("|");
function swap(old, next, isSame = true) {
  const [before, after] = [$$(HANDLES, old), $$(HANDLES, next)];
  const twin = (one) => {
    const alike = (all) => all.filter((other) => sign(other) === sign(one));
    return alike(after)[alike(before).indexOf(one)];
  };
  for (const open of isSame ? $$("details[open] > summary", old) : []) twin(open)?.parentElement.setAttribute("open", "");
  for (const field of isSame ? before : []) {
    const other = field.defaultValue !== undefined && field.value !== field.defaultValue ? twin(field) : null;
    if (other) other.value = field.value;
    const box = field.type === "checkbox" && field.checked !== field.defaultChecked ? twin(field) : null;
    if (box) box.checked = field.checked;
  }
  const focused = document.activeElement;
  const place = before.indexOf(focused);
  const [start, end] = [focused?.selectionStart, focused?.selectionEnd];
  // What is gone leaves its place to its neighbour.
  const to = place < 0 ? null : twin(focused) ?? after[Math.min(place, after.length - 1)];
  old.replaceWith(next);
  rove(next);
  next.closest("[data-chooses]")?.dispatchEvent(new Event("change"));
  to?.focus({ preventScroll: true });
  if (to && typeof start === "number" && to.value === focused.value) to.setSelectionRange(start, end);
}
const cell = (name) => $(`[data-cell="${CSS.escape(name)}"]`);

function patch(change) {
  if ($("[data-dag]")?.dataset.dag !== change.dag || !change.run) return;
  const found = cell(`${change.run}|${change.task ?? ""}`);
  if (!found) return;
  found.setAttribute("class", found.getAttribute("class").replace(/\bs-\w+/, `s-${change.state}`));
  const use = $("use", found);
  if (use) use.setAttribute("href", use.getAttribute("href").replace(/#.*/, `#${change.state}`));
}

/* Nobody knows how the scheduler is while the server is away. */
function showLost(isLost) {
  const [hint, dot] = [$("#offline"), $(".dot")];
  if (isLost) hint.textContent = said("lost");
  hint.hidden = !isLost;
  if (!dot) return;
  dot.dataset.known ??= dot.title;
  dot.classList.toggle("lost", isLost);
  dot.title = isLost ? said("lost") : dot.dataset.known;
  dot.setAttribute("aria-label", dot.title);
}

let changes = null;
const knownDags = new Set($$("[data-new-dags] [data-live]").map((row) => row.dataset.live));
function listen(wasAway) {
  if (!csrf() || changes) return;
  const dag = $("[data-dag]")?.dataset.dag;
  const events = new EventSource("/events" + (dag ? `?dag=${encodeURIComponent(dag)}` : ""));
  changes = events;
  let wasLost = wasAway;
  events.addEventListener("open", () => {
    showLost(false);
    // What happened between the drawing of the page and now.
    setTimeout(() => refresh(() => true), wasLost ? 0 : 300);
    wasLost = false;
  });
  events.addEventListener("error", () => {
    wasLost = true;
    setTimeout(() => {
      if (!wasLost || changes !== events) return;
      showLost(true);
    }, 2000);
  });
  events.addEventListener("changes", (event) => {
    const all = JSON.parse(event.data);
    all.forEach(patch);
    const dags = new Set(all.map((change) => change.dag));
    const ended = all.some((change) => !change.task);
    refresh((part) => (part.dataset.live === "*" ? ended || part.dataset.tasks !== undefined : dags.has(part.dataset.live)));
    const list = $("[data-new-dags]");
    if (list && [...dags].filter((dag) => !knownDags.has(dag) && knownDags.add(dag)).length) refreshSoon(list);
  });
  events.addEventListener("refresh", () => refresh(() => true));
}
/* A browser keeps few connections to one server: pages that nobody sees give theirs back. */
function away() {
  changes?.close();
  changes = null;
  log?.pause();
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return away();
  listen(true);
  log?.resume();
});
addEventListener("pagehide", away);

/* What no event tells of: whether the scheduler lives, for one. */
async function pulse() {
  const fresh = await fetchPart("/", "pulse", true);
  for (const part of [".dot", "#silence"]) {
    const [old, next] = [$(part), $(part, fresh)];
    if (old && next && old.outerHTML !== next.outerHTML) old.replaceWith(next);
  }
}
setInterval(() => {
  if (document.hidden) return;
  $$("[data-every]").forEach(refreshSoon);
  if (csrf()) pulse().catch(() => {});
}, 10000);

/* The panel beside the grid. */
function replacePanel(fresh, isSame) {
  stopLog();
  swap($("#panel"), fresh.querySelector("#panel"), isSame);
  startLog();
}
async function show(address, push) {
  try {
    const fresh = await fetchPart(address, "panel");
    replacePanel(fresh, false);
  } catch {
    location.href = address;
    return;
  }
  if (push) history.pushState({}, "", address);
  const path = new URL(address, location.href).pathname;
  const run = path.split("/runs/")[1]?.split("/")[0];
  for (const tab of $$("a[data-of-run]")) tab.href = tab.pathname + (run ? `?run=${run}` : "");
  for (const on of $$("#grid .on")) on.classList.remove("on");
  for (const link of $$("#grid [data-cell]")) {
    const isGroup = $(".fold", link.closest("tr"));
    if (!isGroup && new URL(link.href).pathname === path) {
      link.classList.add("on");
      link.closest("tr")?.classList.add("on");
    }
  }
  const grid = $("#grid");
  if (grid) {
    grid.dataset.src = address;
    if (!$("#grid .cell.on, #grid .run.on")) refreshSoon(grid);
  }
}
/* How the grid is looked at (folded groups, more runs, a part of its rows) stays when something else is selected. */
function looked(address) {
  const url = new URL(address, location.href);
  const now = new URLSearchParams(location.search);
  for (const name of ["runs", "past", "from", "open", "shut"]) for (const value of now.getAll(name)) url.searchParams.append(name, value);
  return url.pathname + url.search;
}
const isPlain = (event) => !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.button;
document.addEventListener("click", (event) => {
  const link = event.target.closest("#grid a[data-view]");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  const grid = $("#grid");
  const here = new URL(location.href);
  for (const name of ["runs", "past", "from", "open", "shut"]) here.searchParams.delete(name);
  new URL(link.href).searchParams.forEach((value, name) => here.searchParams.append(name, value));
  const address = here.pathname + here.search;
  history.replaceState({}, "", address);
  grid.dataset.src = address;
  redraw(grid).then(() => $$("#grid a.fold").find((one) => one.textContent === link.textContent)?.focus(), () => { location.href = address; });
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-panel]");
  if (!link || !isPlain(event)) return;
  event.preventDefault();
  show(looked(link.getAttribute("href")), true).then(() => {
    if (innerWidth <= 1100) $("#panel").scrollIntoView({ block: "start" });
  });
});
addEventListener("popstate", () => { if ($(".split")) show(location.pathname + location.search, false); });

/* A grid, a strip of runs, a chart and a year are one stop of the Tab key each: within them the arrow keys move, Home and
   End go to the ends. Without scripts each of their links is a stop. */
const ROVING = "#grid .grid, .strip, .chart, .yearbox svg";
const isGrid = (box) => box.matches(".grid");
const linksOf = (box) => $$(isGrid(box) ? "[data-cell], .fold" : "a[href]", box);
const lastStops = new Map();
const placeOf = (box) => {
  const home = box.closest("[id]");
  return `${home.id}|${$$(ROVING, home).indexOf(box)}`;
};
function stopAt(box, link) {
  for (const one of linksOf(box)) one.tabIndex = one === link ? 0 : -1;
}
function rove(root = document) {
  for (const box of $$(ROVING, root)) {
    const links = linksOf(box);
    if (!links.length) continue;
    if (isGrid(box)) box.setAttribute("role", "grid");
    const last = lastStops.get(placeOf(box));
    const newest = isGrid(box) ? $$("thead [data-cell]", box).at(-1) : links.at(-1);
    stopAt(box, links.find((link) => link.getAttribute("href") === last) ?? links.find((link) => link.matches(".on")) ?? newest ?? links[0]);
  }
}
document.addEventListener("focusin", (event) => {
  const box = event.target.closest?.(ROVING);
  if (!box || !linksOf(box).includes(event.target)) return;
  lastStops.set(placeOf(box), event.target.getAttribute("href"));
  stopAt(box, event.target);
});
function inGrid(box, here, key, isWhole) {
  const rows = $$("tr:not(.labels)", box);
  const ofRow = $$("[data-cell], .fold", here.closest("tr"));
  const ends = isWhole ? linksOf(box) : ofRow;
  if (key === "Home") return ends[0];
  if (key === "End") return ends.at(-1);
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  let row = rows.indexOf(here.closest("tr"));
  let column = [...here.closest("tr").children].indexOf(here.closest("td, th"));
  for (;;) {
    row += step[0];
    column += step[1];
    const place = rows[row]?.children[column];
    if (!place) return here;
    const next = $("[data-cell], .fold", place);
    if (next) return next;
  }
}
function inRow(box, here, key) {
  const links = linksOf(box);
  const place = links.indexOf(here);
  return { ArrowLeft: links[place - 1], ArrowRight: links[place + 1], Home: links[0], End: links.at(-1) }[key];
}
document.addEventListener("keydown", (event) => {
  const box = event.target.closest?.(ROVING);
  if (!box || event.altKey || event.metaKey || event.shiftKey) return;
  const keys = ["ArrowLeft", "ArrowRight", "Home", "End", ...(isGrid(box) ? ["ArrowUp", "ArrowDown"] : [])];
  if (!keys.includes(event.key)) return;
  event.preventDefault();
  (isGrid(box) ? inGrid : inRow)(box, event.target, event.key, event.ctrlKey)?.focus();
});
rove();

/* The graph: drag and wheel, or + - 0 and the arrow keys while it has the focus. */
function startGraph(view) {
  const svg = $("[data-graph]");
  if (!svg) return;
  const whole = svg.getAttribute("viewBox").split(" ").map(Number);
  if (view) svg.setAttribute("viewBox", view);
  const read = () => svg.getAttribute("viewBox").split(" ").map(Number);
  const write = (box) => svg.setAttribute("viewBox", box.map((n) => Math.round(n * 10) / 10).join(" "));
  // Where the whole could not be read (its letters are 12 high), it begins at the group that was folded or unfolded, else
  // at what failed, else at what runs, else at its left end; "0" shows all of it.
  const scale = 10 / 12;
  const [wide, high] = [svg.clientWidth / scale, (0.7 * innerHeight) / scale];
  if (!view && (whole[2] > wide || whole[3] > high)) {
    const turned = document.getElementById(location.hash.slice(1));
    const box = (turned && $("rect", turned)) ?? $(".node.s-failed .box", svg) ?? $(".node.s-running .box", svg) ?? $(".node .box", svg);
    const middle = (at, size) => box[at].baseVal.value + box[size].baseVal.value / 2;
    const within = (from, all, part, at) => from + Math.min(Math.max(at - from - part / 2, 0), all - part);
    const [width, height] = [Math.min(whole[2], wide), Math.min(whole[3], high)];
    // Its box has the shape of these, not of what is seen.
    svg.setAttribute("width", width);
    svg.setAttribute("height", height);
    write([within(whole[0], whole[2], width, middle("x", "width")), within(whole[1], whole[3], height, middle("y", "height")), width, height]);
  }
  const zoom = (by, x = 0.5, y = 0.5) => {
    const [left, top, width, height] = read();
    const limited = Math.min(Math.max(width * by, 200), whole[2] * 3) / width;
    write([left + width * x * (1 - limited), top + height * y * (1 - limited), width * limited, height * limited]);
  };
  const move = (x, y) => {
    const [left, top, width, height] = read();
    const scale = Math.max(width / svg.clientWidth, height / svg.clientHeight);
    write([left - x * scale, top - y * scale, width, height]);
  };
  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, (event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }, { passive: false });
  let from = null;
  let far = false;
  svg.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; far = false; });
  svg.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [x, y] = [event.clientX - from[0], event.clientY - from[1]];
    if (!far && Math.hypot(x, y) < 5) return;
    if (!far) svg.setPointerCapture(event.pointerId);
    far = true;
    svg.classList.add("moved");
    move(x, y);
    from = [event.clientX, event.clientY];
  });
  const drop = () => { from = null; svg.classList.remove("moved"); };
  svg.addEventListener("pointerup", drop);
  svg.addEventListener("pointercancel", drop);
  svg.addEventListener("click", (event) => { if (far) event.preventDefault(); far = false; }, true);
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("keydown", (event) => {
    const deeds = { "+": () => zoom(0.8), "=": () => zoom(0.8), "-": () => zoom(1.25), 0: () => write(whole),
      ArrowLeft: () => move(40, 0), ArrowRight: () => move(-40, 0), ArrowUp: () => move(0, 40), ArrowDown: () => move(0, -40) };
    if (!deeds[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    deeds[event.key]();
  });
  const buttons = $("[data-zoom]");
  buttons.hidden = false;
  for (const button of $$("[data-zoom-by]", buttons)) {
    button.onclick = () => (button.dataset.zoomBy === "0" ? write(whole) : zoom(Number(button.dataset.zoomBy)));
  }
}
startGraph();

/* Several are chosen at once. */
for (const form of $$("[data-chooses]")) {
  // They may be drawn anew.
  const boxes = () => $$('input[name="item"]', form);
  const every = $("[data-choose-all]", form);
  if (!every) continue;
  every.hidden = false;
  const draw = () => {
    const chosen = boxes().filter((box) => box.checked).length;
    $("[data-chosen]", form).textContent = chosen;
    every.checked = chosen === boxes().length && chosen > 0;
    every.indeterminate = chosen > 0 && chosen < boxes().length;
    for (const button of $$("button[name=action]", form)) button.disabled = chosen === 0;
  };
  every.addEventListener("change", () => { for (const box of boxes()) box.checked = every.checked; draw(); });
  form.addEventListener("change", (event) => { if (event.target !== every) draw(); });
  draw();
}

/* How many dates a backfill would run, while its form is filled in. */
const backfill = $("form[data-counts]");
let counted = 0;
backfill?.addEventListener("input", () => {
  const mine = ++counted;
  setTimeout(async () => {
    const fields = new FormData(backfill);
    if (mine !== counted || !fields.get("from") || !fields.get("to")) return;
    const fresh = await fetchPart(`${backfill.getAttribute("action")}?${new URLSearchParams(fields)}`, "count").catch(() => "");
    if (mine === counted) $("#backfill-count").replaceChildren(fresh);
  }, 400);
});

/* The log. */
let log = null;
// In the page: of more the first, the first error and the newest stay.
const MOST_LINES = 20000;
const FIRST_LINES = 2000;
// Nobody's browser is to read the whole of a log of gigabytes.
const MOST_READ = 1000000;
function stopLog() {
  log?.pause();
  log = null;
}
function startLog() {
  const box = $("#log");
  if (!box) return;
  const lines = $(".lines", box);
  const mine = { follows: box.hasAttribute("data-following"), pause() {}, resume() {} };
  log = mine;
  const follow = $("[data-follow]", box);
  const jump = $("[data-first-error]", box);
  const toEnd = () => { lines.scrollTop = lines.scrollHeight; };
  const findError = () => { jump.hidden = !$(".l-error", lines); };
  findError();
  const level = $("[data-level]", box);
  const words = $("[data-log-search]", box);
  const unlike = (row) => !row.matches(".gap") && row.classList.toggle("unlike", Boolean(words.value) && !row.lastElementChild.textContent.toLowerCase().includes(words.value.toLowerCase()));
  const sift = () => {
    lines.classList.remove("min-info", "min-warning", "min-error");
    if (level.value) lines.classList.add(`min-${level.value}`);
    for (const row of lines.children) unlike(row);
    const found = [...lines.children].filter((row) => !row.matches(".unlike, .gap")).length;
    $("[data-found]", box).textContent = words.value ? found : "";
  };
  level.onchange = sift;
  words.oninput = sift;
  if (level.value || words.value) sift();
  jump.onclick = () => $(".l-error", lines)?.scrollIntoView({ block: "center" });
  $("[data-wrap]", box).onclick = (event) => event.currentTarget.setAttribute("aria-pressed", String(lines.classList.toggle("wrap")));
  $("[data-expand]", box).onclick = (event) => event.currentTarget.setAttribute("aria-pressed", String($(".split").classList.toggle("wide")));
  $("[data-expand]", box).setAttribute("aria-pressed", String($(".split").classList.contains("wide")));
  const draw = () => {
    follow.setAttribute("aria-pressed", String(mine.follows));
    follow.lastChild.textContent = mine.follows ? follow.dataset.stop : follow.dataset.start;
  };
  follow.onclick = () => { mine.follows = !mine.follows; draw(); if (mine.follows) toEnd(); };
  if (mine.follows) { follow.hidden = false; toEnd(); }
  else if ($(".l-error", lines)) lines.scrollTop = $(".l-error", lines).offsetTop - lines.offsetTop - lines.clientHeight / 2;
  if (!box.hasAttribute("data-goes-on")) return;
  let number = lines.children.length;
  let offset = box.dataset.offset;
  let events = null;
  let isOver = false;
  let gap = null;
  let left = 0;
  const gapAt = (place) => {
    const row = document.createElement("div");
    row.className = "line gap";
    row.append(document.createElement("a"), document.createElement("time"), document.createElement("span"));
    lines.insertBefore(row, place);
    return row;
  };
  const trim = () => {
    let extra = lines.children.length - MOST_LINES;
    if (extra <= 0) return;
    gap ??= gapAt(lines.children[FIRST_LINES]);
    const error = $(".l-error", lines);
    let row = gap.nextElementSibling;
    while (extra-- > 0 && row) {
      const next = row.nextElementSibling;
      if (row !== error) { row.remove(); left++; }
      row = next;
    }
    gap.lastElementChild.textContent = said("leftOut", { n: left.toLocaleString("en") });
  };
  const append = (event) => {
    const fresh = document.createDocumentFragment();
    for (const line of JSON.parse(event.data)) {
      number++;
      const row = document.createElement("div");
      row.className = `line l-${line.level}`;
      row.id = `L${number}`;
      const link = document.createElement("a");
      link.href = `#L${number}`;
      link.textContent = number;
      const time = document.createElement("time");
      time.textContent = line.at ?? "";
      const text = document.createElement("span");
      text.textContent = line.text;
      row.append(link, time, text);
      unlike(row);
      fresh.append(row);
    }
    lines.append(fresh);
    offset = event.lastEventId;
    findError();
    if (mine.follows) toEnd();
    trim();
    if (number > MOST_READ) {
      end();
      gapAt(null).lastElementChild.textContent = said("goesOn");
    }
  };
  const end = () => {
    isOver = true;
    mine.pause();
    follow.hidden = true;
  };
  mine.pause = () => {
    events?.close();
    events = null;
  };
  mine.resume = () => {
    if (events || isOver) return;
    events = new EventSource(`${box.dataset.events}&offset=${offset}`);
    events.addEventListener("lines", append);
    events.addEventListener("end", end);
    events.addEventListener("failed", end);
  };
  mine.resume();
}
document.addEventListener("click", async (event) => {
  const raw = event.target.closest("a[data-raw]");
  if (!raw) return;
  event.preventDefault();
  // Only looked at: a refusal is said here, and not saved as the log.
  const look = new AbortController();
  try {
    const response = await fetch(raw.href, { headers: { "X-Millrace-Page": "1" }, signal: look.signal });
    if (response.status === 401) location.href = "/sign-in?next=" + encodeURIComponent(location.pathname + location.search);
    else if (response.ok) location.href = raw.href;
    else say((await response.json()).detail ?? said("refused", { status: response.status }));
  } catch {
    say(said("lost"));
  } finally {
    look.abort();
  }
});

/* Connections. */
async function test(place, button, body) {
  button.disabled = true;
  place.className = "test-result";
  place.textContent = said("testing");
  try {
    const answer = await ask("POST", "/api/v1/connections/test", body);
    place.textContent = answer.message;
    place.classList.add(answer.status ? "ok" : "bad");
  } catch (error) {
    place.textContent = error.message;
    place.classList.add("bad");
  }
  button.disabled = false;
}
document.addEventListener("click", (event) => {
  const one = event.target.closest("[data-test]");
  if (one) {
    event.preventDefault();
    test($(".test-result", one.closest("td")), one, { connection_id: one.dataset.test });
  }
  const whole = event.target.closest("[data-test-form]");
  if (whole) {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData($("#connection-form")));
    delete fields.csrf_token;
    delete fields.seen;
    for (const name in fields) if (!fields[name]) delete fields[name];
    test($("#connection-form .test-result"), whole, fields);
  }
});

const grid = $("#grid");
if (grid) {
  const on = $("#grid .cell.on, #grid .run.on");
  if (on) on.scrollIntoView({ block: "nearest", inline: "center" });
  else grid.scrollLeft = grid.scrollWidth;
}
/* Where a year does not fit, its newest run is in sight. */
for (const box of $$(".yearbox")) {
  const newest = $$("a.day rect", box).at(-1);
  if (newest) box.scrollLeft = newest.x.baseVal.value - box.clientWidth / 2;
}
startLog();
listen(false);
