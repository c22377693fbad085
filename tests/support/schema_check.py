"""Run by a Python that has Skyvern: which documents of schema_samples its models refuse, or of which they drop the field.

The documents are on standard input, as JSON: model, field, document. Prints the mistakes as JSON.
"""

import importlib
import json
import sys


def main() -> None:
    """One line for each mistake."""
    workflows = importlib.import_module("skyvern.schemas.workflows")
    mistakes = []
    for name, field, document in json.load(sys.stdin):
        model = workflows.WorkflowCreateYAMLRequest if name == "Workflow" else getattr(workflows, name, None)
        # Some are in modules that this one has loaded.
        model = model or next(getattr(module, name) for module in list(sys.modules.values()) if hasattr(module, name))
        try:
            if field not in model.model_validate(document).model_fields_set:
                mistakes.append(f"{name}.{field}: dropped")
        except ValueError as refused:
            mistakes.append(f"{name}.{field}: {' '.join(str(refused).split())}")
    json.dump(mistakes, sys.stdout)


if __name__ == "__main__":
    main()
