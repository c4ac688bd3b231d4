// Changes that another person may have to approve first.
import { call, element, NotApproved } from "./gate.js";

// changeAll makes calls that change something, all of them, and returns what they answered. A call is {method, path, body}. If some need an
// approval it is asked for at once; the visitor is shown how it stands, and when all are approved and he goes on, the calls are
// repeated with them. It throws NotApproved if that does not come about: then those that need an approval have not been done. done is
// told each answer as soon as there is one.
export async function changeAll(calls, reason, done = () => {}) {
  const asked = [];
  const answers = [];
  for (const c of calls) {
    const { body } = await call(c.method, c.path, c.body, reason, c.approval);
    if (body?.status === "approval_required") asked.push({ call: c, approval: body.approval });
    else done(answers[answers.push(body) - 1]);
  }
  if (asked.some((a) => a.approval.state !== "approved")) await approved(asked.map((a) => a.approval));
  for (const { call: c, approval } of asked) {
    c.approval = approval.id; // for a call that goes on where this one ends
    done(answers[answers.push((await call(c.method, c.path, c.body, reason, c.approval)).body) - 1]);
  }
  return answers;
}

// change is changeAll of one.
export const change = async (c, reason) => (await changeAll([c], reason))[0];

// lookEvery is how often it is asked whether somebody has decided, in milliseconds.
const lookEvery = 1500;

// approved resolves when all are approved and the visitor goes on.
function approved(approvals) {
  const numbers = approvals.map((a) => a.id).join(", ");
  const many = approvals.length > 1;
  const told = element("p", { id: "approval-told", role: "status" });
  const later = element("button", { type: "button", id: "approval-later" }, "Not now");
  const on = element("button", { type: "button", className: "main", id: "approval-go", disabled: true }, "Go on");
  const what = element("ul", { className: "asked" }, ...approvals.map((a) => element("li", {}, element("b", {}, a.action.replaceAll("_", " ")), ` ${a.target}`)));
  const dialog = element("dialog", { id: "approval", ariaLabel: "Another person must approve this" },
    element("h2", {}, "Another person must approve this"), what, told,
    element("p", { className: "muted" }, "Nothing has changed yet. Keep this open to continue from here, or repeat the action after it is approved."),
    element("div", { className: "buttons" }, later, on));
  let outcome = new NotApproved(many ? `Requests ${numbers} wait for another person. When they are approved, repeat the action.` :
    `Request ${numbers} waits for another person. When it is approved, repeat the action.`);
  const show = () => {
    const denied = approvals.find((a) => a.state !== "pending" && a.state !== "approved");
    const left = approvals.filter((a) => a.state === "pending");
    if (denied) {
      const why = denied.state === "denied" ? `${denied.decidedBy} has denied request ${denied.id}: ${denied.decisionReason}` : `Request ${denied.id} is ${denied.state}.`;
      outcome = new NotApproved(why);
      told.textContent = why;
      told.className = "bad";
      later.textContent = "Close";
      on.hidden = true;
      return true;
    }
    if (!left.length) {
      told.textContent = many ? "All are approved." : `${approvals[0].decidedBy} has approved it: ${approvals[0].decisionReason}`;
      told.className = "good";
      on.disabled = false;
      on.focus();
      return true;
    }
    const until = new Date(left[0].expiresAt).toLocaleTimeString("sv-SE", { timeStyle: "short" });
    told.textContent = `${many ? `Requests ${numbers} wait` : `Request ${numbers} waits`} until ${until} for somebody else with the role ${left[0].needs}, on the page Control or with hookgate approvals approve.`;
    return false;
  };
  return new Promise((resolve, reject) => {
    const look = async () => {
      await Promise.all(approvals.map(async (a) => {
        try { Object.assign(a, (await call("GET", `/admin/approvals/${encodeURIComponent(a.id)}`)).body); } catch { /* it is asked again */ }
      }));
      if (show()) clearInterval(looking);
    };
    const looking = setInterval(look, lookEvery);
    later.addEventListener("click", () => dialog.close());
    on.addEventListener("click", () => { outcome = null; dialog.close(); });
    dialog.addEventListener("close", () => {
      clearInterval(looking);
      dialog.remove();
      if (outcome) reject(outcome);
      else resolve();
    });
    document.body.append(dialog);
    show();
    dialog.showModal();
  });
}
