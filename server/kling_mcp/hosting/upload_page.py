"""The page behind an upload address, for people whose assistant cannot send files."""

from __future__ import annotations

import base64
import hashlib

__all__ = ["PAGE", "PAGE_HEADERS"]

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}"
    "input,button{font:inherit}output{display:block;margin-top:1rem;overflow-wrap:anywhere}"
)

_SCRIPT = """
const form = document.querySelector("form");
const said = document.querySelector("output");
form.onsubmit = async (event) => {
  event.preventDefault();
  const [file] = form.picture.files;
  form.send.disabled = true;
  said.textContent = "Sending…";
  try {
    const answer = await fetch(location.href, { method: "PUT", body: file });
    const told = await answer.json();
    said.textContent = answer.ok
      ? `Sent. Tell the assistant to use ${told.image} as the picture.` : told.error;
    form.send.disabled = answer.ok;
  } catch {
    said.textContent = "It did not arrive: try again.";
    form.send.disabled = false;
  }
};
"""

PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>A picture for a Kling video</title>
<style>{_STYLE}</style>
<h1>A picture for a Kling video</h1>
<form>
<p><label>JPEG or PNG, at most 10 MB, each side at least 300 px:
<input type="file" name="picture" accept="image/*" required></label>
<p><button name="send">Send</button>
<output role="status"></output>
</form>
<script>{_SCRIPT}</script>
</html>
"""


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
