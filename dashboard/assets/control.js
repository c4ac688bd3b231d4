// The controls: each asks for a reason, makes the same call as everyone, and reloads the page when it is done. Sections that the visitor does not use are renewed,
// so the document listens to clicks.
import { anew, call, confirmed, keepFresh, NotApproved, shown, toast } from "./gate.js";
import { change } from "./change.js";

// act asks, makes a call, and reloads the page with a message about the result, or passes the result to then.
async function act(question, method, path, body, told, then = () => anew(told)) {
  const answer = await confirmed(question);
  if (!answer) return;
  try {
    then(await change({ method, path, body }, answer.reason));
  } catch (e) {
    if (e instanceof NotApproved) anew(e.message);
    else toast(e.message, "bad");
  }
}

// on has f called with what was clicked on, if a selector matches it.
function on(selector, f) {
  document.addEventListener("click", (e) => {
    const button = e.target.closest(selector);
    if (button) f(button);
  });
}

// modes has, for each mode, the question before it is set and the words for it when it is.
const modes = {
  normal: [{ title: "End maintenance?", text: "The gate takes webhooks, and workers store them.", action: "End maintenance" }, "Maintenance has ended."],
  buffer: [{ title: "Buffer webhooks?", text: "From now on the gate queues webhooks, and no process uses the database. If the queue is full, the answer is 503.", action: "Buffer webhooks" },
    "The gate queues webhooks and does not use the store."],
  read_only: [{ title: "Reject webhooks?", text: "From now on every process of this gate rejects webhooks with 503. A sender that does not retry loses its events. The mode Buffer rejects none.", action: "Reject webhooks", danger: true },
    "The gate rejects webhooks."],
};
on("#mode button", (button) => {
  const mode = button.dataset.set;
  const [question, told] = modes[mode];
  act(question, "POST", "/admin/maintenance", { mode }, told);
});

const begin = document.getElementById("drain-begin");
begin.addEventListener("click", async () => {
  const answer = await confirmed({ title: "Wait until drained?", text: "Waits up to ten minutes until nothing is queued. It changes nothing.", action: "Wait" });
  if (!answer) return;
  const told = document.getElementById("drain-told"), bar = document.getElementById("drain-progress"), depth = document.getElementById("depth");
  begin.disabled = true;
  bar.hidden = false;
  let most = 1;
  const look = async () => {
    try {
      const { body } = await call("GET", "/admin/queue");
      if (body.depth === null) return;
      most = Math.max(most, body.depth);
      bar.max = most;
      bar.value = most - body.depth;
      depth.textContent = shown(body.depth);
      told.textContent = body.depth ? `${shown(body.depth)} of ${shown(most)} left` : "Nothing is queued.";
    } catch { /* the drain itself tells */ }
  };
  await look();
  const looking = setInterval(look, 1000);
  try {
    const { body } = await call("POST", "/admin/drain", { timeout: "10m" }, answer.reason);
    clearInterval(looking);
    await look();
    told.textContent = body.drained ? `Drained in ${(body.took_ms / 1000).toFixed(1)} s.` : `${shown(body.left)} are left.`;
    toast(told.textContent, body.drained ? "good" : "bad");
  } catch (refused) {
    toast(refused.message, "bad");
  } finally {
    clearInterval(looking);
    begin.disabled = false;
    bar.hidden = true;
  }
});

document.addEventListener("submit", (e) => {
  if (e.target.id !== "canary-set") return;
  e.preventDefault();
  const percent = Number(new FormData(e.target).get("percent"));
  if (percent === 0) return back();
  act({ title: `Set the canary to ${percent}%?`, text: `The gate takes ${percent} of 100 ordering keys; the others go to the previous service. A running plan ends.`, action: `Set to ${percent}%`, why: true },
    "POST", "/admin/canary", { percent }, `The canary is at ${percent}%.`);
});
on("[data-plan=start]", () => act({ title: "Start the plan?", text: "The percentage rises step by step while no release trigger fires, and goes back to 0% if one does.", action: "Start the plan", why: true },
  "POST", "/admin/canary", { plan: "start" }, "The plan has begun."));
const back = () => act({ title: "Back to 0%?", text: "All webhooks go to the previous service at once. This needs no approval.", action: "Back to 0%", danger: true },
  "POST", "/admin/canary", { plan: "back" }, "All webhooks go to the previous service.");
on("[data-plan=back]", back);

const decisions = { approve: ["Approve", "Approved."], deny: ["Deny", "Denied."], withdraw: ["Withdraw", "Withdrawn."], revoke: ["Take back", "The approval is revoked."] };
on("[data-decide]", (button) => {
  const ask = button.closest("[data-approval]");
  const [name, told] = decisions[button.dataset.decide];
  const approve = button.dataset.decide === "approve";
  act({ title: `${name}: ${ask.dataset.what}`, text: `${ask.dataset.by} has asked for it: ${ask.dataset.why}`, action: name, danger: !approve, why: true },
    "POST", `/admin/approvals/${encodeURIComponent(ask.dataset.approval)}/${approve ? "approve" : "deny"}`, undefined, told);
});

keepFresh(["mode", "canary", "rollback", "approvals"], 3000);

document.getElementById("token-create")?.addEventListener("submit", async (e) => {
  e.preventDefault();
  const form = new FormData(e.target);
  const wanted = { name: form.get("name"), role: form.get("role") };
  if (form.get("days")) wanted.expiresAt = new Date(Date.now() + form.get("days") * 864e5).toISOString().replace(/\.\d+Z/, "Z");
  await act({ title: "Make a token?", text: `${wanted.name}, with the role ${wanted.role}.`, action: "Make it" }, "POST", "/admin/tokens", wanted, "", showToken);
});

// showToken shows the text of a new token, this once. It stands in a field of a dialog that is removed when it closes, and nowhere else.
function showToken(made) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", `Token ${made.name}`);
  const heading = document.createElement("h2");
  heading.textContent = `Token ${made.name}`;
  const text = document.createElement("p");
  text.textContent = "The token is shown only now. Copy it.";
  const field = document.createElement("input");
  field.readOnly = true;
  field.id = "token-text";
  field.setAttribute("aria-label", "Text of the token");
  field.value = made.token;
  const buttons = document.createElement("div");
  buttons.className = "buttons";
  const copy = document.createElement("button");
  copy.type = "button";
  copy.textContent = "Copy";
  copy.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Copy with the keyboard";
    }
  });
  const close = document.createElement("button");
  close.type = "button";
  close.className = "main";
  close.textContent = "Done";
  close.addEventListener("click", () => dialog.close());
  buttons.append(copy, close);
  dialog.append(heading, text, field, buttons);
  dialog.addEventListener("close", () => {
    field.value = "";
    anew(`Token ${made.name} was created.`);
  });
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", async () => {
    const name = button.closest("tr").dataset.token;
    await act({ title: `Revoke ${name}?`, text: "It stops working at once, in every process, for good.", action: "Revoke", danger: true },
      "DELETE", `/admin/tokens/${encodeURIComponent(name)}`, undefined, `Token ${name} is revoked.`);
  });
}
