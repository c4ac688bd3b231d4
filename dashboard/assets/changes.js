// What the pages of deliveries share: counts before a change, and what became of it.
import { anew, call, element, NotApproved, Refused, shown, toast } from "./gate.js";
import { change } from "./change.js";

export const plural = (n, one, many = `${one}s`) => `${shown(n)} ${n === 1 ? one : many}`;
export const pathOf = (name, rest) => `/api/subscriptions/${encodeURIComponent(name)}${rest}`;

// counted makes a dry run and returns its answer, or null after it has told why there is none.
export async function counted(path, body) {
  try {
    return (await call("POST", path, { ...body, dryRun: true })).body;
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    toast(e.message, "bad");
    return null;
  }
}

// perform does something, and the page is then loaded anew with what it returns; a failure is told in its place.
export async function perform(action) {
  try {
    anew(await action());
  } catch (e) {
    if (!(e instanceof Refused || e instanceof NotApproved)) throw e;
    const notice = document.getElementById("approval-waits");
    if (e instanceof NotApproved && notice) {
      notice.textContent = `${e.message} Nothing has been changed.`;
      notice.hidden = false;
      notice.scrollIntoView({ block: "nearest" });
    } else {
      toast(e.message, "bad");
    }
  }
}

// redeliver asks for a redelivery of some events, which is counted before, and stores the job.
export async function redeliver(name, body, reason) {
  const { job, events } = await change({ method: "POST", path: pathOf(name, "/redeliver"), body }, reason);
  return `Job ${job.id} delivers ${plural(events, "event")} again to ${name}.`;
}

// planned asks for the details of a change in a dialog, and shows what they would do before anything is done. fields are
// {name, label, placeholder, options}. body turns the values into the body of a call, or null while they are not complete. tell puts the
// answer of its dry run in words: {text, action}; without an action nothing can be done. It resolves to {body, reason}, or null.
export function planned({ title, text, path, fields, body, tell, danger = false }) {
  const inputs = fields.map((f) => f.options ?
    element("select", { name: f.name }, ...f.options.map(([value, words]) => element("option", { value }, words))) :
    element("input", { name: f.name, type: f.type ?? "text", placeholder: f.placeholder ?? "", autocomplete: "off", spellcheck: false }));
  const labels = fields.map((f, i) => element("label", {}, f.label, inputs[i]));
  const preview = element("p", { className: "preview", id: "preview", role: "status" });
  const reason = element("input", { name: "reason", maxLength: 200, required: true });
  const yes = element("button", { value: "yes", className: danger ? "danger" : "main", disabled: true }, "…");
  const no = element("button", { type: "button" }, "Cancel");
  const form = element("form", { method: "dialog" }, element("h2", {}, title), element("p", {}, text), ...labels, preview,
    element("label", {}, "Reason, for the admin trail", reason), element("div", { className: "buttons" }, no, yes));
  const dialog = element("dialog", { ariaLabel: title, className: "planned" }, form);
  const values = () => Object.fromEntries(inputs.map((input, i) => [fields[i].name, labels[i].hidden ? "" : input.value.trim()]));
  let latest = 0;
  const look = async () => {
    for (const [i, f] of fields.entries()) labels[i].hidden = f.when ? !f.when(values()) : false;
    const turn = ++latest;
    yes.disabled = true;
    const wanted = body(values());
    let told = { text: "" };
    if (wanted) {
      try {
        told = tell((await call("POST", path, { ...wanted, dryRun: true })).body);
      } catch (e) {
        if (!(e instanceof Refused)) throw e;
        told = { text: e.message, bad: true };
      }
    }
    if (turn !== latest) return; // the values have changed since
    preview.textContent = told.text;
    preview.classList.toggle("bad", told.bad ?? false);
    yes.textContent = told.action ?? "…";
    yes.disabled = !told.action;
  };
  let timer;
  for (const input of inputs) {
    input.addEventListener("input", () => { yes.disabled = true; clearTimeout(timer); timer = setTimeout(look, 250); });
  }
  no.addEventListener("click", () => dialog.close("no"));
  document.body.append(dialog);
  dialog.showModal();
  look();
  return new Promise((resolve) => dialog.addEventListener("close", () => {
    dialog.remove();
    resolve(dialog.returnValue === "yes" ? { body: body(values()), reason: reason.value.trim() } : null);
  }));
}
