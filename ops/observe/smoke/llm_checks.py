"""The check of a language model that the stack runs itself. Not here: hosted models, because each request costs money."""

import json

from ops.clients.docker import PYTHON
from ops.observe.smoke.site import CheckFailedError, Site, expect

# Runs in Skyvern's own container, to test Skyvern's network and settings. Prints Ollama's answer about the model.
ASK = """
import json, os, urllib.error, urllib.request
request = urllib.request.Request(
    os.environ["OLLAMA_SERVER_URL"] + "/api/show", json.dumps({"model": os.environ["OLLAMA_MODEL"]}).encode()
)
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20)
    answer = "there"
except urllib.error.HTTPError as refused:
    answer = "missing" if refused.code == 404 else f"status {refused.code}"
except OSError as failed:
    answer = f"no answer ({failed})"
print(json.dumps({"model": os.environ["OLLAMA_MODEL"], "answer": answer}))
"""


def check_ollama_model(site: Site) -> None:
    """Ollama answers Skyvern and has the model of the stack file. It is not loaded: that takes a minute without a GPU."""
    ollama = json.loads(site.execute("server", *PYTHON, ASK))
    if ollama["answer"] == "missing":
        log = site.log("ollama-pull", "0")
        raise CheckFailedError(log[-1] if log else f"{ollama['model']} is missing, and ollama-pull has printed nothing yet")
    expect(ollama["answer"] == "there", f"{ollama['model']}: Ollama gives Skyvern {ollama['answer']}")
