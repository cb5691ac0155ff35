// The secret that lets this browser steer the runs it started. It is handed to the page, never put in a URL.

const KEY = "rnnviz-owner";

let memoryToken = null;

function newToken() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** 32 hexadecimal digits, the same at every visit of this browser. */
export function ownerToken() {
  try {
    let token = localStorage.getItem(KEY);
    if (!/^[0-9a-f]{32}$/.test(token ?? "")) {
      token = newToken();
      localStorage.setItem(KEY, token);
    }
    return token;
  } catch { // storage is switched off: the token lasts as long as the page
    memoryToken ??= newToken();
    return memoryToken;
  }
}
