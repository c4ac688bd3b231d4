// Sets the theme that was chosen before anything is painted; without a choice the system's is used.
(() => {
  try {
    const chosen = localStorage.getItem("theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* storage is switched off */ }
})();
