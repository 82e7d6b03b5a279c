// A plain list of the first cases. Names are set as text, never as markup.
const state = document.querySelector("#state");
const list = document.querySelector("#cases");

const [info, page] = await Promise.all(
  ["info", "cases?limit=50"].map(async (place) => (await fetch(`api/v1/${place}`)).json()),
);
document.title = `${info.title} · plurimask`;
state.textContent = `${page.total} cases, ${page.broken_total} of them cannot be read`;
for (const item of page.items) {
  const entry = document.createElement("li");
  const picture = new Image();
  picture.src = item.thumbnail;
  picture.alt = "";
  entry.append(picture, ` ${item.name}: ${item.samples ?? "…"} samples, ${item.readers ?? "…"} readers`);
  list.append(entry);
}
