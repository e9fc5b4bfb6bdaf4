// Draws the charts, those near the window first, and marks the selected sample in each.

const views = new Map(); // chart's name -> Vega view
const whenDrawn = []; // called with name and view
let marked = null;

// A row of the data "samples" and "selected" of the specifications.
function chartRow(position) {
  const row = {
    position,
    index: samples.index[position],
    name: short(samples.id[position], 40),
    labels: labelsInWords(position),
    code: samples.code[position],
    odd: samples.wrong[position],
  };
  samples.scores.forEach((score, place) => {
    const value = score.values[position] ?? 0;
    const bits = inBits(value, score.unit);
    row[score.key] = value;
    row[`t${place}`] = quantity(value, score.unit) + (bits ? ` (${bits})` : "");
  });
  return row;
}

function draw(holder) {
  const name = holder.dataset.chart;
  if (holder.dataset.drawn) return;
  holder.dataset.drawn = "started";
  const spec = { ...data.charts[name] };
  if (spec.datasets && "samples" in spec.datasets) {
    const rows = samples.index.map((_, position) => chartRow(position));
    const selected = marked === null ? [] : [chartRow(marked)];
    spec.datasets = { ...spec.datasets, samples: rows, selected };
  }
  const options = {
    ast: true, // expressions are interpreted: the page's policy forbids eval
    actions: false,
    config: data.config,
    defaultStyle: false,
    renderer: "svg",
    tooltip: { disableDefaultStyle: true },
  };
  window.vegaEmbed(holder, spec, options).then(({ view }) => {
    views.set(name, view);
    find("svg", holder).setAttribute("aria-hidden", "true"); // the holder has the words
    holder.dataset.drawn = "done";
    view.addEventListener("click", (event, item) => {
      const index = item && item.datum && item.datum.index;
      if (index !== undefined && positionOf.has(index)) openPanel(positionOf.get(index), null, holder);
    });
    if (marked !== null) markIn(view);
    whenDrawn.forEach((call) => call(name, view));
  });
}

function markIn(view) {
  try {
    view.data("selected", [chartRow(marked)]);
  } catch {
    return; // a chart without single samples
  }
  view.runAsync();
}

function mark(position) {
  marked = position;
  views.forEach(markIn);
}

function drawAll() {
  findAll(".chart").forEach(draw);
}

function drawWhenNear() {
  const holders = findAll(".chart");
  for (const holder of holders) holder.style.minHeight = `${data.charts[holder.dataset.chart].height + 48}px`;
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        watcher.unobserve(target);
        draw(target);
      }
    },
    { rootMargin: "600px" },
  );
  holders.forEach((holder) => watcher.observe(holder));
  // The others follow while the page is idle, or half a second later, so that it prints whole.
  const idle = (call) =>
    window.requestIdleCallback ? requestIdleCallback(call, { timeout: 500 }) : setTimeout(call, 200);
  const rest = [...holders];
  const one = () => {
    const next = rest.find((holder) => !holder.dataset.drawn);
    if (!next) return;
    draw(next);
    idle(one);
  };
  setTimeout(() => idle(one), 300);
  window.addEventListener("beforeprint", drawAll);
}
