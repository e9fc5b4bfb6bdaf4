// Draws the figures of a page without samples.
const page = JSON.parse(document.getElementById("figures").textContent);
for (const [id, spec] of Object.entries(page.charts)) {
  const holder = document.querySelector(`[data-chart="${CSS.escape(id)}"]`);
  const options = {
    ast: true, // expressions are interpreted: the page's policy forbids eval
    actions: false,
    config: page.config,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  };
  window.vegaEmbed(holder, spec, options).then(() => {
    holder.querySelector("svg").setAttribute("aria-hidden", "true"); // the holder has the words
    holder.dataset.drawn = "done";
  });
}
