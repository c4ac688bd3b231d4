// What the pages of events and dead letters share: filters.

// Times of a filter are entered in the reader's zone and stand in the address in UTC.
for (const input of document.querySelectorAll("input[data-time]")) {
  const name = input.name;
  const absolute = document.createElement("input");
  absolute.type = "hidden";
  absolute.name = name;
  absolute.value = input.value;
  input.removeAttribute("name");
  input.value = "";
  input.type = "datetime-local";
  input.step = 1;
  const at = new Date(absolute.value);
  input.value = isNaN(at) ? "" : new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
  input.addEventListener("change", () => {
    const chosen = new Date(input.value);
    absolute.value = isNaN(chosen) ? "" : chosen.toISOString();
  });
  input.after(absolute);
}

// An address has only the filters that are filled in.
for (const form of document.querySelectorAll("form[data-clean]")) {
  form.addEventListener("submit", () => {
    for (const input of form.elements) if (input.name && !input.value) input.disabled = true;
  });
}
addEventListener("pageshow", () => { for (const input of document.querySelectorAll("form[data-clean] [name]")) input.disabled = false; });
