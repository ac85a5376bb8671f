// Shows the API description and sends requests. Text is only ever set as text, never as markup.

const state = { credential: "", document: null };

function element(tag, text = "", ...children) {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
}

function notice(text) {
  document.querySelector("#notice").textContent = text;
}

async function credentialOf(form) {
  const name = form.get("name");
  const secret = form.get("secret");
  if (form.get("kind") === "key") {
    const bytes = new TextEncoder().encode(`${name}:${secret}`);
    return `Basic ${btoa(String.fromCharCode(...bytes))}`;
  }
  const body = { username: name, password: secret };
  if (form.get("code")) body.mfa_token = form.get("code");
  const reply = await fetch("/api/v5/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(`${answer.code}: ${JSON.stringify(answer.message)}`);
  return `Bearer ${answer.token}`;
}

function resolve(schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? state.document.components.schemas[name] : schema;
}

function example(schema, depth = 0) {
  const full = resolve(schema) ?? {};
  if (full.default !== undefined) return full.default;
  if (full.enum) return full.enum[0];
  if (full.anyOf) return example(full.anyOf[0], depth);
  if (full.type === "object") {
    if (depth > 4) return {};
    const fields = Object.entries(full.properties ?? {});
    return Object.fromEntries(fields.map(([name, part]) => [name, example(part, depth + 1)]));
  }
  if (full.type === "array") return depth > 4 ? [] : [example(full.items, depth + 1)];
  return { string: "", integer: 0, number: 0, boolean: false }[full.type] ?? null;
}

function parameterRow(parameter, inputs) {
  const input = element("input");
  input.placeholder = String(parameter.schema.default ?? "");
  input.required = parameter.required;
  inputs.push([parameter, input]);
  const label = element("label", `${parameter.name} (${parameter.in})`);
  label.append(input);
  return label;
}

async function send(method, path, inputs, body, output) {
  let target = path;
  const query = new URLSearchParams();
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value) query.append(parameter.name, input.value);
  }
  const headers = { authorization: state.credential, accept: "application/json" };
  const options = { method, headers };
  if (body) {
    headers["content-type"] = "application/json";
    options.body = body.value;
  }
  const started = performance.now();
  const reply = await fetch(`/api/v5${target}${query.size ? `?${query}` : ""}`, options);
  const text = await reply.text();
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not JSON: shown as it came.
  }
  output.textContent = `${reply.status} in ${Math.round(performance.now() - started)} ms\n${shown}`;
}

function routeOf(path, method, operation) {
  const details = element("details");
  const summary = element("summary", "", element("b", method.toUpperCase()), element("code", path));
  summary.append(element("span", operation.summary));
  const inputs = [];
  const form = element("form");
  form.append(...operation.parameters.map((parameter) => parameterRow(parameter, inputs)));
  const schema = operation.requestBody?.content["application/json"]?.schema;
  let body = null;
  if (schema) {
    body = element("textarea");
    body.setAttribute("aria-label", "Request body");
    body.value = JSON.stringify(example(schema), null, 2);
    form.append(body);
  }
  const button = element("button", "Send");
  form.append(button);
  const output = element("pre");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(method.toUpperCase(), path, inputs, body, output).catch((error) => notice(error.message));
  });
  const answers = element("table");
  for (const [status, reply] of Object.entries(operation.responses)) {
    answers.append(element("tr", "", element("th", status), element("td", reply.description)));
  }
  const rights = element("p", `role: ${operation["x-role"]}, scope: ${operation["x-scope"]}`);
  details.append(summary, rights, form, output, answers);
  details.dataset.text = `${method} ${path} ${operation.summary}`.toLowerCase();
  return details;
}

function show() {
  const groups = new Map(state.document.tags.map((tag) => [tag.name, []]));
  for (const [path, operations] of Object.entries(state.document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      groups.get(operation.tags[0]).push(routeOf(path, method, operation));
    }
  }
  const sections = [...groups].map(([name, routes]) => element("section", "", element("h2", name), ...routes));
  document.querySelector("#routes").replaceChildren(...sections);
  document.querySelector("#search").hidden = false;
}

document.querySelector("#login").addEventListener("submit", async (event) => {
  event.preventDefault();
  notice("loading");
  try {
    state.credential = await credentialOf(new FormData(event.target));
    const reply = await fetch("/api-docs/swagger.json", { headers: { authorization: state.credential } });
    const answer = await reply.json();
    if (!reply.ok) throw new Error(`${answer.code}: ${answer.message}`);
    state.document = answer;
    show();
    notice("");
  } catch (error) {
    notice(error.message);
  }
});

document.querySelector("#search input").addEventListener("input", (event) => {
  const wanted = event.target.value.toLowerCase();
  for (const route of document.querySelectorAll("details")) {
    route.hidden = !route.dataset.text.includes(wanted);
  }
});
