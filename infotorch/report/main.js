// Sets the page up once its parts are there.

function copyCommand(event) {
  const text = find("#command").textContent;
  const done = () => (event.target.textContent = "Copied");
  const select = () => {
    getSelection().selectAllChildren(find("#command"));
    event.target.textContent = "Selected: press Ctrl+C";
  };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, select);
  else select();
}

fillPictures();
setUpFlags();
findAll("[data-brush]").forEach(setUpBrush);
setUpPanel();
drawWhenNear();
window.addEventListener("beforeprint", () => findAll(".facts").forEach((part) => (part.open = true)));
find("#copy").addEventListener("click", copyCommand);
find("#more")?.addEventListener("click", (event) => {
  const cards = findAll('[data-order="suspicious"] .card[hidden]');
  cards.forEach((card) => (card.hidden = false));
  find("a", cards[0]).focus();
  event.target.remove();
});
