"""Runs a copy of a metric folder without the project: `python -I run_alone.py NAME`, in a folder with `org/NAME`.

It prints one line of JSON: the results of the examples in the README, the result of the example on the page, and every
attempt to connect to a network. Gradio is not installed; the page gets replacements that only store their arguments.
"""

import doctest
import io
import json
import re
import runpy
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

name = sys.argv[1]
connections = []
socket.socket.connect = lambda _, address: connections.append(str(address))
socket.getaddrinfo = lambda *args, **_: connections.append(str(args)) or []

runner = doctest.DocTestRunner(verbose=False)
output = io.StringIO()
namespace: dict = {}
for block in re.findall(r"```python\n(.*?)```", Path("org", name, "README.md").read_text(encoding="utf-8"), re.DOTALL):
    test = doctest.DocTestParser().get_doctest(block, namespace, name, "README.md", 0)
    with redirect_stdout(output):
        runner.run(test, clear_globs=False)
    namespace = test.globs

# On the Hub, the files of every Space are in a folder called `app`.
Path("org", name).rename("app")
fields = dict.fromkeys(("Textbox", "Number", "JSON", "Interface"), SimpleNamespace)
sys.modules["gradio"] = SimpleNamespace(**fields, Error=RuntimeError)
page = runpy.run_path("app/app.py", run_name="app")["demo"]
try:
    page.fn(*["not JSON"] * len(page.inputs))
    refusal = None
except RuntimeError as error:
    refusal = str(error)

report = {
    "failed": runner.failures,
    "attempted": runner.tries,
    "output": output.getvalue(),
    "metric_type": f"{type(namespace['metric']).__module__}.{type(namespace['metric']).__name__}",
    "page_scores": page.fn(*page.examples[0]),
    "page_fits": len(page.inputs) == len(page.examples[0]),
    "page_refusal": refusal,
    "page_article": page.article,
    "connections": connections,
    "modules": sorted({module.partition(".")[0] for module in sys.modules}),
}
print(json.dumps(report))
