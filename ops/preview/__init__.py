"""``ops preview``: the effects of a change on a stack, reported so that it can be judged before anyone reads code."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ops.errors import UserError
from ops.preview import engine, model, report
from ops.preview.model import Preview
from ops.stack.option import DEV
from ops.stack.stack import Stack

Format = Literal["markdown", "json"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of the command line. limit: most characters of the Markdown, 0 for all. base, link: for the report."""

    form: Format = "markdown"
    output: Path | None = None
    drift: bool = True
    base: str = ""
    link: str = ""
    limit: int = report.LIMIT


def main(stacks: Sequence[Stack], options: Options, stored: Sequence[Path] = ()) -> int:
    """Makes the previews, or reads stored ones, and writes the report; the exit code is the worst (``model.exit_code``).

    Raises UserError for a wrong command line, an unknown stack or a stored file that holds no preview.
    """
    if stacks and stored:
        raise UserError("ops preview: --from takes the place of stacks; give one or the other")
    if stored and (options.base or not options.drift):
        raise UserError("ops preview: --from reads previews as they were made; leave out --base and --no-drift")
    if options.form == "json" and (options.link or options.limit != report.LIMIT):
        raise UserError("ops preview: --link and --limit are for markdown; leave them out")
    if stored:
        previews = [preview for path in stored for preview in _read(path)]
    else:
        # All of them before the first preview, which takes minutes.
        for stack in stacks:
            _ = stack.file
        previews = [engine.preview(stack, drift=options.drift, base=options.base) for stack in stacks or [DEV]]
    text = (
        model.dump(previews)
        if options.form == "json"
        else report.markdown(previews, limit=options.limit or None, link=options.link)
    )
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text)
        print(f"ops preview: wrote {options.output}", file=sys.stderr)
    return model.exit_code(previews)


def _read(path: Path) -> tuple[Preview, ...]:
    try:
        text = path.read_text()
    except OSError as failure:
        raise UserError(f"{path}: {failure.strerror}; make it with bin/ops preview --format json") from failure
    return model.load(text, file=str(path))
