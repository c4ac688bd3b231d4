// What all pages share: times in the reader's zone, the theme, calls of the JSON interface, and what they answered.

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

// call makes a call of the JSON interface and returns {status, body}; it throws Refused when the answer is no success. approval is the
// number of one that permits the call.
export async function call(method, path, body, reason = "", approval = "") {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (approval) headers["X-Approval"] = approval;
  // A header holds bytes; the gate reads UTF-8.
  if (reason) headers["X-Reason"] = String.fromCharCode(...new TextEncoder().encode(reason));
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), redirect: "error" });
  } catch {
    throw new Refused(0, "The gate does not answer.");
  }
  const text = await response.text();
  let answer = null;
  try { answer = JSON.parse(text); } catch { /* told below */ }
  if (!response.ok) throw new Refused(response.status, answer?.error ?? response.statusText, answer);
  return { status: response.status, body: answer };
}

// Refused is an answer that is no success.
export class Refused extends Error {
  constructor(status, told, body = null) {
    super(told);
    this.status = status;
    this.body = body;
  }
}

// NotApproved says that something was not done because nobody else has approved it.
export class NotApproved extends Error {}

// element makes an element with properties and children, which are texts or elements.
export function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

// keepFresh renews the sections of the page that have these ids, every so many milliseconds, with what the gate shows then, if that is
// something else. One that the visitor has the focus in is left alone, and so are all while he presses a button or has a dialog open.
export function keepFresh(ids, every) {
  let pressed = false, reading = false;
  for (const [event, is] of [["pointerdown", true], ["pointerup", false], ["pointercancel", false]]) addEventListener(event, () => { pressed = is; }, true);
  const busy = () => document.hidden || pressed || document.querySelector("dialog");
  setInterval(async () => {
    if (busy() || reading) return; // a slow gate is not asked again before it has answered
    reading = true;
    let page;
    try {
      const response = await fetch(location.href, { redirect: "error" });
      if (response.status === 401) location.reload(); // to the form to sign in
      if (!response.ok) return;
      page = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch { return; } finally { reading = false; } // it is tried again
    if (busy()) return;
    for (const id of ids) {
      const old = document.getElementById(id), now = page.getElementById(id);
      if (!old || !now || old.contains(document.activeElement) || shape(old) === shape(now)) continue;
      times(now);
      old.replaceWith(now);
    }
  }, every);
}

// shape is what a part of the page says, in whichever zone its times are shown.
function shape(part) {
  const copy = part.cloneNode(true);
  for (const t of copy.querySelectorAll("time")) {
    t.textContent = "";
    t.removeAttribute("title");
  }
  return new XMLSerializer().serializeToString(copy);
}

// toast tells what became of something, in the corner; kind is "good" or "bad". A bad one stays until the visitor closes it.
export function toast(text, kind = "good") {
  const box = document.getElementById("toasts");
  const one = document.createElement("p");
  one.className = `toast ${kind}`;
  one.textContent = text;
  box.append(one);
  if (kind !== "bad") {
    setTimeout(() => one.remove(), 6000);
    return;
  }
  const close = element("button", { type: "button", className: "quiet", ariaLabel: "Close this message" }, "×");
  close.addEventListener("click", () => one.remove());
  one.append(close);
}

// anew loads the page again, so that it shows what is true now, and then tells what was done.
export function anew(told) {
  try { sessionStorage.setItem("told", told); } catch { /* storage is switched off */ }
  location.reload();
}
try {
  const told = sessionStorage.getItem("told");
  sessionStorage.removeItem("told");
  if (told) toast(told);
} catch { /* storage is switched off */ }

// confirmed asks in a dialog and resolves to {reason} or null. With word, that must be typed; with why, a reason must be given.
export function confirmed({ title, text, action, danger = false, word = "", why = false }) {
  const dialog = document.createElement("dialog");
  const form = document.createElement("form");
  form.method = "dialog";
  const heading = document.createElement("h2");
  heading.textContent = title;
  const p = document.createElement("p");
  p.textContent = text;
  form.append(heading, p);
  let typed = null;
  if (word) {
    typed = field(form, `Type ${word} to go on`);
    typed.required = true;
    typed.pattern = word;
    typed.autocomplete = "off";
  }
  const reason = field(form, why ? "Reason, for the admin trail and the person who approves" : "Reason, for the admin trail (optional)");
  reason.required = why;
  reason.maxLength = 200;
  reason.name = "reason";
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  const no = document.createElement("button");
  no.type = "button";
  no.textContent = "Cancel";
  no.addEventListener("click", () => dialog.close("no"));
  const yes = document.createElement("button");
  yes.value = "yes";
  yes.className = danger ? "danger" : "main";
  yes.textContent = action;
  buttons.append(no, yes);
  form.append(buttons);
  dialog.append(form);
  dialog.setAttribute("aria-label", title);
  document.body.append(dialog);
  dialog.showModal();
  (typed ?? reason).focus();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(dialog.returnValue === "yes" ? { reason: reason.value.trim() } : null);
  }));
}

function field(form, text) {
  const label = document.createElement("label");
  label.textContent = text;
  const input = document.createElement("input");
  input.type = "text";
  label.append(input);
  form.append(label);
  return input;
}

// Dates as in ISO 8601, which nobody reads wrongly, in the reader's zone.
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

const exactClock = new Intl.DateTimeFormat("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

// written is a time as it is shown: how long ago or ahead, with milliseconds, or to the second.
function written(t, at) {
  if (t.hasAttribute("data-ago")) return ago(at);
  if (t.hasAttribute("data-in")) return ahead(at);
  return t.hasAttribute("data-ms") ? exactClock.format(at).replace(",", ".") : clock.format(at);
}

// ahead says in how long something is.
function ahead(at, now = Date.now()) {
  const s = Math.round((at - now) / 1000);
  if (s <= 0) return "now";
  if (s < 90) return `in ${s} s`;
  if (s < 5400) return `in ${Math.round(s / 60)} min`;
  return s < 48 * 3600 ? `in ${Math.round(s / 3600)} h` : `in ${Math.round(s / 86400)} days`;
}

// shown writes a whole number with thin spaces between thousands.
export function shown(n) { return new Intl.NumberFormat("en").format(n).replaceAll(",", "\u202f"); }

// times writes the times below an element in the reader's zone; UTC is their title.
export function times(root = document) {
  for (const t of root.querySelectorAll("time[datetime]")) {
    const at = new Date(t.dateTime);
    if (isNaN(at)) continue;
    t.title = `${t.dateTime.replace("T", " ").replace(/(\.\d{3})\d*/, "$1").replace("Z", "")} UTC`;
    t.textContent = written(t, at);
  }
}

// ago says how long ago something was.
export function ago(at, now = Date.now()) {
  const s = Math.max(0, Math.round((now - at) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} days ago`;
}

// On a narrow screen the page or tab that is shown may be outside of its list.
function showCurrent() {
  for (const here of document.querySelectorAll("nav [aria-current]")) {
    const list = here.closest("nav");
    list.scrollLeft += here.getBoundingClientRect().left - list.getBoundingClientRect().left - (list.clientWidth - here.offsetWidth) / 2;
  }
}
showCurrent();
addEventListener("resize", showCurrent);

times();
setInterval(() => { for (const t of document.querySelectorAll("time[data-ago]")) t.textContent = ago(new Date(t.dateTime)); }, 10000);
setInterval(() => { for (const t of document.querySelectorAll("time[data-in]")) t.textContent = ahead(new Date(t.dateTime)); }, 1000);
for (const zone of document.querySelectorAll("[data-zone]")) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;

document.getElementById("theme")?.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* storage is switched off */ }
  document.dispatchEvent(new Event("theme"));
});

// Copies the text of what data-copy names.
document.addEventListener("click", async (e) => {
  const button = e.target.closest("button[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    toast("Selected. Copy it with the keyboard.");
    return;
  }
  const was = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = was; }, 2000);
});
