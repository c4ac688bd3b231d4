// The controls: each asks for a reason, makes the same call as everyone, and shows the page anew when it is done.
import { anew, call, confirmed, shown, toast } from "./gate.js";

// act asks, makes a call, and shows the page anew with what came of it, or hands that to then.
async function act(question, method, path, body, told, then = () => anew(told)) {
  const answer = await confirmed(question);
  if (!answer) return;
  try {
    let done = await call(method, path, body, answer.reason);
    const approval = done.body?.status === "approval_required" ? done.body.approval : null;
    if (approval && approval.state !== "approved") {
      toast(`Asked for approval ${approval.id}: when another person has approved it, do it again.`);
      return;
    }
    if (approval) done = await call(method, path, body, answer.reason, approval.id); // asked for before, and approved since
    then(done.body);
  } catch (refused) {
    toast(refused.message, "bad");
  }
}

document.querySelector("#mode button").addEventListener("click", async (e) => {
  const mode = e.target.dataset.set;
  const begin = mode === "read_only";
  await act({
    title: begin ? "Begin maintenance?" : "End maintenance?",
    text: begin ? "All webhooks get 503 from now on, in every process of this gate. Their senders repeat them later." : "Webhooks are taken again.",
    action: begin ? "Begin maintenance" : "End maintenance", danger: begin,
  }, "POST", "/admin/maintenance", { mode }, begin ? "Maintenance has begun." : "Webhooks are taken again.");
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

document.getElementById("canary-set")?.addEventListener("submit", async (e) => {
  e.preventDefault();
  const percent = Number(new FormData(e.target).get("percent"));
  await act({ title: `Set the canary to ${percent}%?`, text: `${percent} of a hundred ordering keys are taken here, the rest goes to the service before. A plan that runs ends.`, action: "Set" },
    "POST", "/admin/canary", { percent }, `The canary is at ${percent}%.`);
});
for (const button of document.querySelectorAll("#canary [data-plan]")) {
  button.addEventListener("click", async () => {
    const back = button.dataset.plan === "back";
    await act({ title: back ? "Back to 0%?" : "Start the plan?", text: back ? "All webhooks go to the service before." : "The share grows step by step, as long as the guard says go.", action: back ? "Back to 0%" : "Start", danger: back },
      "POST", "/admin/canary", { plan: button.dataset.plan }, back ? "All webhooks go to the service before." : "The plan has begun.");
  });
}

for (const button of document.querySelectorAll("[data-decide]")) {
  button.addEventListener("click", async () => {
    const row = button.closest("tr"), decision = button.dataset.decide;
    await act({ title: `${button.textContent} ${row.cells[0].textContent}?`, text: row.cells[1].textContent, action: button.textContent, danger: decision === "deny" },
      "POST", `/admin/approvals/${encodeURIComponent(row.dataset.approval)}/${decision}`, undefined, decision === "approve" ? "Approved." : "Denied.");
  });
}

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
  text.textContent = "This is shown once, and kept nowhere. Copy it now.";
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
    anew(`Token ${made.name} is made.`);
  });
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

for (const button of document.querySelectorAll("[data-revoke]")) {
  button.addEventListener("click", async () => {
    const name = button.closest("tr").dataset.token;
    await act({ title: `Revoke ${name}?`, text: "It stops working at once, in every process, and for good.", action: "Revoke", danger: true },
      "DELETE", `/admin/tokens/${encodeURIComponent(name)}`, undefined, `Token ${name} is revoked.`);
  });
}
