// Samples that the reader has flagged, and their download as CSV. They are forgotten when the page is closed.

const flagged = new Set();

function toggleFlag(position) {
  if (!flagged.delete(position)) flagged.add(position);
  showFlags();
}

function flagAll(positions) {
  positions.forEach((position) => flagged.add(position));
  showFlags();
}

function showFlags() {
  for (const card of findAll(".card[data-position]")) {
    const button = find(".flag", card);
    if (button) button.setAttribute("aria-pressed", flagged.has(Number(card.dataset.position)));
  }
  showPanelFlag();
  find("#flagbar").hidden = flagged.size === 0;
  find("#flag-count").textContent = `${thousands(flagged.size)} flagged`;
}

// One cell; text that a spreadsheet would take for a formula is preceded by an apostrophe.
function csvCell(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(positions) {
  const columns = [["index", samples.index], ["id", samples.id]];
  if (samples.given) columns.push(["label", samples.given]);
  if (samples.suggested) columns.push(["suggested_label", samples.suggested]);
  for (const score of samples.scores) columns.push([score.name, score.values]);
  const lines = positions.map((position) => columns.map(([, values]) => csvCell(values[position])).join(","));
  return [columns.map(([name]) => csvCell(name)).join(","), ...lines].join("\r\n") + "\r\n";
}

function downloadFlags() {
  const text = csv([...flagged].sort((a, b) => a - b));
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  const link = element("a");
  link.href = url;
  link.download = "flagged.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function setUpFlags() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".card .flag");
    if (button) toggleFlag(Number(button.closest(".card").dataset.position));
  });
  find("#download").addEventListener("click", downloadFlags);
  find("#clear").addEventListener("click", () => {
    flagged.clear();
    showFlags();
  });
  find("#flag-shown")?.addEventListener("click", () => {
    const cards = findAll('[data-order="suspicious"] .card').filter((card) => !card.hidden);
    flagAll(cards.map((card) => Number(card.dataset.position)));
  });
}
