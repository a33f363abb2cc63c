// Shows one version, and approves it: with a passkey that signs exactly what is shown, or on the server's word alone.

import { ask, busy, ready, tell } from "./api.js";
import { sign, usable } from "./passkeys.js";
import { act } from "./step_up.js";

const element = (id) => document.getElementById(id);
let shown = null;

function path({ model, environment }) {
  const [name, version] = model.split("@");
  const where = `/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`;
  return { version: where, approvals: `${where}/approvals`, query: new URLSearchParams({ environment }) };
}

async function look() {
  const asked = { model: element("model").value.trim(), environment: element("environment").value };
  const { version, approvals, query } = path(asked);
  element("found").hidden = true;
  const [facts, words] = [await ask("GET", version), await ask("GET", `${approvals}/words?${query}`)];
  shown = { ...asked, words };
  element("heading-found").textContent = `${words.name}@${words.version} for ${words.environment}`;
  element("digest").textContent = words.digest;
  element("pushed").textContent = `${facts.created_by}, ${facts.created_at}`;
  element("data-class").textContent = facts.data_class;
  const count = words.signed_by.length;
  element("signed").textContent = count
    ? `${words.signed_by.join(", ")} (${count} of the ${words.needed.strict} that strict needs)`
    : `nobody yet; strict needs ${words.needed.strict} people`;
  const signs = usable && words.passkey_options !== null;
  element("with-passkey").hidden = !signs;
  element("no-passkey").hidden = signs;
  element("without").classList.toggle("plain", signs);
  element("found").hidden = false;
  element("heading-found").focus();
}

async function approve(withPasskey, reason) {
  const { approvals, query } = path(shown);
  query.set("reason", reason);
  const { payload, passkey_options: options } = shown.words;
  const body = withPasskey ? { payload, passkey: await sign(options) } : undefined;
  const made = await act("POST", `${approvals}?${query}`, body);
  element("approve").reset();
  await look();
  const how = made.own_signature ? ", with your own signature" : "";
  tell(`Approved: ${made.name}@${made.version} for ${made.environment}${how}.`, { bad: false });
}

element("which").addEventListener("submit", (event) => {
  event.preventDefault();
  busy(event.currentTarget, look);
});

element("approve").addEventListener("submit", (event) => {
  event.preventDefault();
  const reason = element("reason").value.trim();
  busy(event.currentTarget, () => approve(event.submitter.value === "passkey", reason));
});

const linked = new URLSearchParams(location.search);
if (linked.has("model")) element("model").value = linked.get("model");
if ([...element("environment").options].some((one) => one.value === linked.get("environment"))) {
  element("environment").value = linked.get("environment");
}
ready();
