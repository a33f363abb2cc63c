// Passkeys: what the server asks for goes to the browser, what the browser answers goes back. Nothing is decided here.

const here = document.body.dataset.origin;

export const usable = Boolean(window.PublicKeyCredential) && here === location.origin;

// Where passkeys cannot work, nothing offers them.
export function offer() {
  if (usable) return;
  for (const part of document.querySelectorAll("[data-passkeys]")) part.hidden = true;
  const elsewhere = document.getElementById("elsewhere");
  if (elsewhere && here && here !== location.origin) elsewhere.hidden = false;
}

function bytes(text) {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}

function text(buffer) {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

const named = (list) => list.map((one) => ({ ...one, id: bytes(one.id) }));

// A new passkey, as the server reads it.
export async function make(options) {
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: named(options.excludeCredentials),
  };
  const made = await asked(() => navigator.credentials.create({ publicKey }));
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    response: {
      clientDataJSON: text(made.response.clientDataJSON),
      attestationObject: text(made.response.attestationObject),
      transports: made.response.getTransports?.() ?? [],
    },
  };
}

// What a passkey signs, as the server reads it.
export async function sign(options, userVerification = options.userVerification) {
  const publicKey = {
    ...options,
    userVerification,
    challenge: bytes(options.challenge),
    allowCredentials: named(options.allowCredentials),
  };
  const got = await asked(() => navigator.credentials.get({ publicKey }));
  return {
    id: got.id,
    rawId: text(got.rawId),
    type: got.type,
    response: {
      clientDataJSON: text(got.response.clientDataJSON),
      authenticatorData: text(got.response.authenticatorData),
      signature: text(got.response.signature),
      userHandle: got.response.userHandle ? text(got.response.userHandle) : null,
    },
  };
}

const SAID = {
  NotAllowedError: "No passkey was given: it was cancelled, took too long, or there is none here.",
  InvalidStateError: "This device holds a passkey of yours already.",
  SecurityError: "The browser refuses passkeys at this address.",
  NotSupportedError: "This device can make no passkey that would be accepted here.",
};

async function asked(act) {
  try {
    return await act();
  } catch (error) {
    throw new Error(SAID[error.name] ?? "The browser could not use a passkey: try again.");
  }
}
