// The pages of dead letters: retry and purge, one or many.
import { anew, confirmed, NotApproved, Refused, toast } from "./gate.js";
import { change, changeAll } from "./change.js";
import "./records.js";

const list = document.getElementById("letters");
const letter = document.getElementById("letter");
const path = "/admin/dlq";
const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

// wanted asks for confirmation and a reason; null if it is not given.
const wanted = (purge, what, open, why = purge) => confirmed(purge ? {
  title: `Purge ${what}?`,
  text: open ? "This removes their bodies for good. Open ones are stored nowhere else, so their events are lost although they were acknowledged." :
    "This removes their bodies for good. Their events stay stored.",
  action: "Purge", danger: true, word: open ? "purge" : "", why,
} : {
  title: `Retry ${what}?`,
  text: "They go through the queue again and are stored once. Those that fail again become new dead letters.",
  action: "Retry", why,
});

// perform does something and tells what became of it; the page is then loaded anew. What is done before something goes wrong is
// counted in the progress that action is given.
async function perform(button, action) {
  button.disabled = true;
  const progress = { done: 0 };
  try {
    anew(await action(progress));
  } catch (e) {
    button.disabled = false;
    if (!(e instanceof Refused || e instanceof NotApproved)) throw e;
    const before = progress.done ? ` ${plural(progress.done, "dead letter")} had been dealt with before that.` : "";
    if (e instanceof NotApproved) {
      const notice = document.getElementById("approval-waits");
      notice.textContent = e.message + (before || " Nothing has been changed.");
      notice.hidden = false;
      notice.scrollIntoView({ block: "nearest" });
      return;
    }
    toast(e.message + before, "bad");
  }
}

if (letter) {
  const { id, state } = letter.dataset;
  document.getElementById("retry")?.addEventListener("click", async (e) => {
    const yes = await wanted(false, "this dead letter");
    if (!yes) return;
    await perform(e.target, async () => {
      const a = await change({ method: "POST", path: `${path}/${encodeURIComponent(id)}/retry` }, yes.reason);
      return a.skipped?.length ? `Not retried: ${a.skipped[0].reason}` : "Retried: it is queued again.";
    });
  });
  document.getElementById("purge")?.addEventListener("click", async (e) => {
    const open = state === "open";
    const yes = await wanted(true, "this dead letter", open);
    if (!yes) return;
    await perform(e.target, async () => {
      const a = await change({ method: "POST", path: `${path}/${encodeURIComponent(id)}/purge`, body: open ? { loseEvents: true } : undefined }, yes.reason);
      return `${plural(a.purged.length, "dead letter")} purged.`;
    });
  });
}

if (list) {
  const boxes = [...list.querySelectorAll("input[data-id]")];
  const all = document.getElementById("choose-all");
  const chosen = () => boxes.filter((b) => b.checked);
  const retryChosen = document.getElementById("retry-chosen");
  const purgeChosen = document.getElementById("purge-chosen");

  const update = () => {
    const some = chosen();
    document.getElementById("chosen").textContent = some.length ? `${some.length} chosen` : "none chosen";
    const name = (button, what, n) => {
      button.disabled = n === 0;
      button.textContent = n ? `${what} ${n} chosen` : `${what} chosen`;
    };
    name(retryChosen, "Retry", some.filter((b) => "retriable" in b.dataset).length);
    if (purgeChosen) name(purgeChosen, "Purge", some.filter((b) => "purgeable" in b.dataset).length);
    all.checked = some.length === boxes.length;
    all.indeterminate = some.length > 0 && some.length < boxes.length;
  };
  if (all) {
    all.addEventListener("change", () => { for (const b of boxes) b.checked = all.checked; update(); });
    for (const b of boxes) b.addEventListener("change", update);
    update();
  }

  retryChosen?.addEventListener("click", async () => {
    const some = chosen().filter((b) => "retriable" in b.dataset);
    const yes = await wanted(false, plural(some.length, "dead letter"));
    if (!yes) return;
    await perform(retryChosen, async (progress) => {
      await changeAll(some.map((b) => ({ method: "POST", path: `${path}/${encodeURIComponent(b.dataset.id)}/retry` })), yes.reason, (a) => { progress.done += a.retried.length; });
      return `${progress.done} of ${plural(some.length, "dead letter")} retried.`;
    });
  });
  purgeChosen?.addEventListener("click", async () => {
    const some = chosen().filter((b) => "purgeable" in b.dataset);
    const open = some.some((b) => b.dataset.state === "open");
    const yes = await wanted(true, plural(some.length, "dead letter"), open);
    if (!yes) return;
    await perform(purgeChosen, async (progress) => {
      await changeAll(some.map((b) => ({ method: "POST", path: `${path}/${encodeURIComponent(b.dataset.id)}/purge`, body: b.dataset.state === "open" ? { loseEvents: true } : undefined })),
        yes.reason, (a) => { progress.done += a.purged.length; });
      return `${plural(progress.done, "dead letter")} purged.`;
    });
  });

  // many makes a call on all that match, until there are no more; an approval of the first call goes for those that follow.
  const many = async (progress, where, more, reason, count) => {
    const c = { method: "POST", path: where, body: { ...JSON.parse(list.dataset.selection), ...more } };
    for (;;) {
      let a;
      try {
        a = await change(c, reason);
      } catch (e) {
        progress.done += e.body?.retried?.length ?? 0; // before it failed
        throw e;
      }
      progress.done += count(a);
      if (!a.next) return progress.done;
      c.body.after = a.next;
    }
  };
  document.getElementById("retry-all")?.addEventListener("click", async (e) => {
    const yes = await wanted(false, `all ${list.dataset.matching} dead letters that match`, true, true);
    if (!yes) return;
    await perform(e.target, async (progress) => `${plural(await many(progress, `${path}/retry`, {}, yes.reason, (a) => a.retried.length), "dead letter")} retried.`);
  });
  document.getElementById("purge-all")?.addEventListener("click", async (e) => {
    const filter = JSON.parse(list.dataset.selection).filter ?? {};
    const open = !filter.state || filter.state === "open";
    const yes = await wanted(true, `all ${list.dataset.matching} dead letters that match`, open);
    if (!yes) return;
    await perform(e.target, async (progress) => `${plural(await many(progress, `${path}/purge`, open ? { loseEvents: true } : {}, yes.reason, (a) => a.purged.length), "dead letter")} purged.`);
  });
}
