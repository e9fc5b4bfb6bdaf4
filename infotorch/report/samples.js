// The page's one table of samples, and the cards that show them. A position is a row of that table.

const data = JSON.parse(document.getElementById("data").textContent);
const samples = data.samples;
const numSamples = samples.index.length;
const positionOf = new Map(samples.index.map((index, position) => [index, position]));

function find(selector, within = document) {
  return within.querySelector(selector);
}

function findAll(selector, within = document) {
  return [...within.querySelectorAll(selector)];
}

// An element with text, classes and children; text is never read as HTML.
function element(name, { text, className, children = [] } = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function short(text, length = 80) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function labelsInWords(position) {
  if (!samples.given) return "";
  const given = short(samples.given[position]);
  return samples.wrong[position] ? `${given} → ${short(samples.suggested[position])}` : given;
}

function showPicture(image, position) {
  const label = samples.given ? `, given label ${short(samples.given[position], 40)}` : "";
  image.alt = `Picture of ${short(samples.id[position], 40)}${label}`;
  image.src = samples.image[position];
}

function pictured(position) {
  return Boolean(samples.image && samples.image[position]);
}

function fillPictures(within = document) {
  for (const card of findAll(".card[data-position]", within)) {
    const image = find("img", card);
    if (image && !image.src) showPicture(image, Number(card.dataset.position));
  }
}

// A card from the template, with a line of text beneath.
function smallCard(position, line) {
  const card = find("#card-template").content.firstElementChild.cloneNode(true);
  card.dataset.position = position;
  find("a", card).href = `#sample=${samples.index[position]}`;
  find(".flag", card).remove();
  find(".labels", card).remove();
  find(".id", card).textContent = line;
  if (pictured(position)) {
    showPicture(find("img", card), position);
  } else {
    find(".frame", card).remove();
  }
  find("a", card).setAttribute("aria-label", `${short(samples.id[position], 40)}: ${line}`);
  return card;
}
