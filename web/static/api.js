// The page to try the API: sends what a form says, and shows what comes back, as text.
const token = document.querySelector('meta[name="csrf"]')?.content ?? "";

const LONGEST = 200000;

/* A stream goes on for ever: what has come is shown while it comes, and cut off after a minute. */
async function read(answer, show) {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let text = "";
  try {
    for (;;) {
      const { done, value } = reader ? await reader.read() : { done: true };
      if (done) return text;
      text += decoder.decode(value, { stream: true });
      if (text.length > LONGEST) {
        await reader.cancel();
        return `${text.slice(0, LONGEST)}\n…`;
      }
      show(text);
    }
  } catch {
    return `${text}\n…`;
  }
}

async function send(form, out) {
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
  const answer = await fetch(address, { method, headers, body: method === "GET" ? undefined : (body ?? "{}"), signal: AbortSignal.timeout(60000) });
  const show = (text) => { out.textContent = `${method} ${address}\n${answer.status} ${answer.statusText}\n\n${text}`; };
  const text = await read(answer, show);
  let shown = text;
  try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
  show(shown);
}

for (const form of document.querySelectorAll("form[data-api]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const out = form.querySelector("[data-answer]");
    out.hidden = false;
    out.textContent = "…";
    try { await send(form, out); } catch (error) { out.textContent = String(error); }
  });
}
