// What the page of the contract cannot do by itself: search, copy an example, and know where this service answers.

const finder = document.getElementById("finder");
const search = document.getElementById("search");
const found = document.getElementById("found");
const entries = [...document.querySelectorAll(".entry")];
const texts = new Map(entries.map((entry) => [entry, `${entry.id} ${entry.textContent}`.toLowerCase()]));

// Entries that hold every word that is asked for, wherever it stands in them.
function narrow() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const entry of entries) {
    const fits = words.every((word) => texts.get(entry).includes(word));
    entry.hidden = !fits;
    shown += fits;
  }
  for (const section of document.querySelectorAll("main section")) {
    section.hidden = !section.querySelector(".entry:not([hidden])");
  }
  found.textContent = words.length ? `${shown} of ${entries.length}` : "";
}

// An address with # leads into an entry that may be folded, or hidden by a search.
function follow() {
  const entry = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!entry) return;
  if (entry.hidden) {
    search.value = "";
    narrow();
  }
  const folded = entry.querySelector("details");
  if (folded) folded.open = true;
  entry.scrollIntoView();
}

async function copy(button) {
  await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const origin of document.querySelectorAll(".origin")) origin.textContent = location.origin;
for (const button of document.querySelectorAll(".copy")) {
  // Browsers lend the clipboard to secure pages alone.
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => copy(button));
}
finder.hidden = false;
search.addEventListener("input", narrow);
addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
  }
});
narrow();
follow();
