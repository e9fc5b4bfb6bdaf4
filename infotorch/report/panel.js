// The panel: everything known of one sample. It walks along the order of the list from which it was opened.

const orderNames = {
  suspicious: "to look at first",
  most: `most ${data.ends}`,
  least: `least ${data.ends}`,
  "bounds-pairs": "in these pairs",
};
const panel = find("#panel");
let current = null; // position shown
let order = { name: "in the data set", positions: samples.index.map((_, position) => position) };
let opener = null;

// Opens at a position; list is {name, positions} or null for the whole table; from takes the focus back.
function openPanel(position, list, from) {
  if (list !== undefined) order = list ?? { name: "in the page", positions: samples.index.map((_, p) => p) };
  if (from) opener = from;
  showSample(position);
  if (!panel.open) panel.showModal();
  find("#panel-title").focus();
}

function showSample(position) {
  current = position;
  const place = order.positions.indexOf(position);
  find("#place").textContent =
    place < 0 ? "" : `${thousands(place + 1)} of ${thousands(order.positions.length)} ${order.name}`;
  find("#previous").disabled = place <= 0;
  find("#next").disabled = place < 0 || place + 1 >= order.positions.length;
  find("#panel-title bdi").textContent = samples.id[position];
  const link = `#sample=${samples.index[position]}`;
  find("#panel-link").href = link;
  find("#panel-link").textContent = link;
  history.replaceState(null, "", link);
  showLabels(position);
  showInput(position);
  find("#panel-scores").replaceChildren(...samples.scores.map((score, place) => scoreRow(score, position, data.about[place])));
  find("#percentile-head").textContent = samples.classes ? "Percentile in its class" : "Percentile";
  find("#panel-reliable").textContent =
    samples.reliable && !samples.reliable[position] ? "Marked not reliable: leaving it out is ill-conditioned." : "";
  showMetadata(position);
  showNearest(position);
  showPanelFlag();
  mark(position);
  panel.scrollTop = 0;
}

function showLabels(position) {
  const line = find("#panel-labels");
  line.replaceChildren();
  if (!samples.given) return;
  line.append("given ", element("b", { children: [element("bdi", { text: samples.given[position] })] }));
  if (!samples.suggested) return;
  if (samples.wrong[position]) {
    const suggested = element("bdi", { text: samples.suggested[position] });
    line.append(" → suggested ", element("span", { className: "change", children: [suggested] }));
  } else {
    line.append(", and suggested");
  }
}

function showInput(position) {
  const holder = find("#panel-input");
  holder.replaceChildren();
  if (pictured(position)) {
    const image = element("img");
    showPicture(image, position);
    holder.append(image);
  }
  const text = samples.text && samples.text[position];
  if (text) {
    const shown = element("p", { children: [element("bdi", { text })] });
    shown.tabIndex = 0;
    holder.append(shown);
  }
}

// about is the address of what explains the score: its name leads there.
function scoreRow(score, position, about) {
  const value = score.values[position];
  const bits = inBits(value, score.unit);
  const cell = element("td", { text: quantity(value, score.unit) });
  if (bits) cell.title = bits;
  if (score.stderr) cell.append(element("small", { text: `± ${quantity(score.stderr[position], score.unit)}` }));
  const percentile = score.percentiles[position];
  const link = element("a", { text: score.title });
  link.href = `#${about}`;
  link.addEventListener("click", (event) => {
    event.preventDefault();
    opener = find(`#${about}`);
    panel.close();
  });
  const name = element("th", { children: [link, element("small", { text: score.kind })] });
  name.scope = "row";
  const share = element("td", { text: `${percentile.toFixed(0)} %`, children: [bar(percentile)] });
  return element("tr", { children: [name, cell, share] });
}

function bar(percent) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 4");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "bar");
  svg.setAttribute("aria-hidden", "true");
  for (const [name, width] of [["track", 100], ["fill", percent]]) {
    const part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    part.setAttribute("class", name);
    part.setAttribute("width", width);
    part.setAttribute("height", 4);
    svg.append(part);
  }
  return svg;
}

function showMetadata(position) {
  const names = Object.keys(samples.metadata);
  find("#panel-metadata-part").hidden = names.length === 0;
  find("#panel-metadata").replaceChildren(
    ...names.map((name) => {
      const term = element("dt", { children: [element("bdi", { text: name })] });
      const value = element("dd", { children: [element("bdi", { text: samples.metadata[name][position] })] });
      return element("div", { children: [term, value] });
    }),
  );
}

function showNearest(position) {
  const near = samples.nearest[position] ?? [];
  find("#panel-nearest-part").hidden = near.length === 0;
  find("#panel-nearest").replaceChildren(
    ...near.map(([other, distance]) => smallCard(other, distance < 1e-6 ? "identical" : number(distance))),
  );
}

function showPanelFlag() {
  const isFlagged = current !== null && flagged.has(current);
  find("#panel-flag").setAttribute("aria-pressed", isFlagged);
  find("#panel-flag").textContent = isFlagged ? "Flagged" : "Flag";
}

function step(by) {
  const next = order.positions[order.positions.indexOf(current) + by];
  if (next === undefined) return;
  showSample(next);
  // A button at the end of the order is disabled and would take the focus out of the panel with it.
  if (document.activeElement.disabled || document.activeElement === document.body) find("#panel-title").focus();
}

// The focus goes to the shown sample's card in the list walked along, else to where the panel was opened.
function closed() {
  history.replaceState(null, "", location.pathname + location.search);
  const grid = opener && opener.closest(".grid");
  const card = grid && find(`.card[data-position="${current}"]:not([hidden]) > a`, grid);
  const target = card ?? opener;
  if (!target) return;
  if (!target.matches("a, button, [tabindex]")) target.tabIndex = -1;
  target.focus();
}

// Opens what the address names: #sample=17 is the sample at place 17 of the data set.
function openAddressed() {
  const match = /^#sample=(\d+)$/.exec(location.hash);
  if (!match) return;
  const index = Number(match[1]);
  if (positionOf.has(index)) return openPanel(positionOf.get(index), null, null);
  const notice = find("#notice");
  notice.textContent = `Sample ${index} is not among the ${thousands(numSamples)} of ${thousands(samples.total)} in this page.`;
  notice.hidden = false;
  setTimeout(() => (notice.hidden = true), 8000);
}

function openFromCard(link) {
  const card = link.closest(".card");
  const grid = card.closest(".grid");
  const position = Number(card.dataset.position);
  if (grid.id === "panel-nearest") return openPanel(position, null, null);
  const name = grid.dataset.order;
  const cards = findAll(".card", grid).map((other) => Number(other.dataset.position));
  openPanel(position, { name: orderNames[name] ?? "selected", positions: data.orders[name] ?? cards }, link);
}

function setUpPanel() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".card > a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openFromCard(link);
  });
  find("#previous").addEventListener("click", () => step(-1));
  find("#next").addEventListener("click", () => step(1));
  find("#close").addEventListener("click", () => panel.close());
  find("#panel-flag").addEventListener("click", () => toggleFlag(current));
  find("#panel-link").addEventListener("click", (event) => event.preventDefault());
  panel.addEventListener("close", closed);
  panel.addEventListener("click", (event) => event.target === panel && panel.close());
  panel.addEventListener("keydown", (event) => {
    if (event.target.closest("[tabindex='0']")) return; // arrows scroll the text
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  window.addEventListener("hashchange", openAddressed);
  openAddressed();
}
