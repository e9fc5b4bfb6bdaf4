// Selects samples in a chart of two scores, by dragging or by typing ranges, and lists them beneath.

const MOST_LISTED = 12;

function setUpBrush(holder) {
  const name = holder.dataset.brush;
  const [x, y] = data.brushes[name].map((key) => samples.scores.find((score) => score.key === key));
  const inputs = ["x0", "x1", "y0", "y1"].map((end) => find(`[name="${end}"]`, holder));
  let selected = [];

  function select(ranges) {
    const [x0, x1, y0, y1] = ranges;
    const within = (value, low, high) => value !== null && value >= low && value <= high;
    selected = samples.index
      .map((_, position) => position)
      .filter((p) => within(x.values[p], x0, x1) && within(y.values[p], y0, y1))
      .sort((p, q) => y.values[q] - y.values[p]);
    show();
  }

  function show() {
    const more = selected.length > MOST_LISTED ? `, the ${MOST_LISTED} with the largest ${y.title.toLowerCase()} shown` : "";
    find(".selection", holder).textContent =
      `${thousands(selected.length)} ${selected.length === 1 ? "sample" : "samples"} selected${more}.`;
    const cards = selected.slice(0, MOST_LISTED).map((p) => smallCard(p, short(samples.id[p], 24)));
    find(".grid", holder).replaceChildren(...cards);
    find(".flag-selection", holder).hidden = selected.length === 0;
  }

  function clear() {
    selected = [];
    find(".selection", holder).textContent = "";
    find(".grid", holder).replaceChildren();
    find(".flag-selection", holder).hidden = true;
  }

  // Values beyond an axis are drawn at its end, so a brush that touches the end takes them in.
  function dragged(view, value) {
    if (!value || !value.x || !value.y) return clear();
    const ends = ["x", "y"].flatMap((channel) => {
      const domain = view.scale(channel).domain();
      const [low, high] = [Math.min(...value[channel]), Math.max(...value[channel])];
      const slack = 1e-6 * (domain[1] - domain[0]);
      return [low <= domain[0] + slack ? -Infinity : low, high >= domain[1] - slack ? Infinity : high];
    });
    inputs.forEach((input, i) => (input.value = Number.isFinite(ends[i]) ? Number(ends[i].toPrecision(4)) : ""));
    select(ends);
  }

  function typed() {
    if (inputs.every((input) => input.value === "")) return clear();
    select(inputs.map((input, i) => (input.value === "" ? (i % 2 ? Infinity : -Infinity) : Number(input.value))));
  }

  inputs.forEach((input) => input.addEventListener("input", typed));
  find(".flag-selection", holder).addEventListener("click", () => flagAll(selected));
  let waiting = null;
  whenDrawn.push((drawn, view) => {
    if (drawn !== name) return;
    view.addSignalListener("brush", (_, value) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => dragged(view, value), 80);
    });
  });
}
