// Light or dark before anything is painted: what was chosen here, else what the system prefers.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const chosen = localStorage.getItem("upnext.theme");
    document.documentElement.dataset.theme = chosen || (system.matches ? "dark" : "light");
  };
  system.addEventListener("change", apply);
  apply();
})();
