// The page to try the API: sends what a form says, and shows what comes back, as text.
const token = document.querySelector('meta[name="csrf"]')?.content ?? "";

async function send(form) {
  const query = new URLSearchParams();
  const headers = { "x-csrf-token": token, "x-millrace-page": "api", accept: "application/json" };
  let path = form.dataset.path;
  let body;
  for (const field of form.querySelectorAll("[data-in]")) {
    const value = field.value;
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    else if (field.dataset.in === "query" && value !== "") query.append(field.name, value);
    else if (field.dataset.in === "header" && value !== "") headers[field.name] = value;
    else if (field.dataset.in === "body") body = value;
  }
  const method = form.dataset.method;
  if (method !== "GET") headers["content-type"] = "application/json";
  const address = query.size ? `${path}?${query}` : path;
  // What goes on for ever is cut off.
  const answer = await fetch(address, { method, headers, body: method === "GET" ? undefined : (body ?? "{}"), signal: AbortSignal.timeout(60000) });
  const text = await answer.text();
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
  return `${method} ${address}\n${answer.status} ${answer.statusText}\n\n${shown}`;
}

for (const form of document.querySelectorAll("form[data-api]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const out = form.querySelector("[data-answer]");
    out.hidden = false;
    out.textContent = "…";
    try { out.textContent = await send(form); } catch (error) { out.textContent = String(error); }
  });
}
