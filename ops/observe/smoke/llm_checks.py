"""The check of the language model that a stack runs itself. Not here: hosted models, which cost money to ask."""

import json

from ops.clients.docker import PYTHON
from ops.observe.smoke.site import CheckFailedError, Site, expect

# Run in Skyvern's own container, so that it is Skyvern's network and Skyvern's settings that are tried. Prints what Ollama knows.
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
    told = json.loads(site.execute("server", *PYTHON, ASK))
    if told["answer"] == "missing":
        log = site.log("ollama-pull", "0")
        raise CheckFailedError(log[-1] if log else f"{told['model']} is missing, and ollama-pull has printed nothing yet")
    expect(told["answer"] == "there", f"{told['model']}: Ollama gives Skyvern {told['answer']}")
