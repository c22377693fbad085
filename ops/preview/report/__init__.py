"""Previews as one Markdown document for a pull request: the verdict first, the diff last. Pure.

The nine parts: a hidden token, the verdict of each stack, counts and what to review first, policies, drift, the diff of each
stack, risks (exposure, downtime, rotation, images), differences between the stacks, and how to apply.

A preview is a branch's, but its report is posted under a bot's name. So every text of the model is put into code, where it can be
neither markup, nor a link, nor a mention. Not here: redaction; the model holds no secret.
"""

import json
from collections.abc import Iterator, Sequence

from ops.preview.model import Preview
from ops.preview.report import automations, diff, sections
from ops.preview.report.diff import Block, Place
from ops.preview.report.markup import code, cut, length

__all__ = ["LIMIT", "MARKER", "code", "markdown"]

# The first line of every report, by which the comment to edit is found.
MARKER = "<!-- skyvern-preview -->"
# The longest comment that GitHub accepts, in UTF-16 units.
LIMIT = 65_536
# Entries of one list and lines of one resource: the first pair with which the report fits is taken.
_CAPS = ((60, 80), (25, 40), (8, 20), (3, 8))


def markdown(previews: Sequence[Preview], *, limit: int | None = LIMIT, link: str = "") -> str:
    """The report, at most ``limit`` long (None: whole). link: where the whole report is.

    Trimmed by whole resources: unchanged ones are left out first, then creations, then updates.
    """
    for entries, lines in ((None, None),) if limit is None else _CAPS:
        blocks = [diff.blocks(preview, lines) for preview in previews]
        text = _assemble(previews, blocks, entries, None, link)
        if limit is None or length(text) <= limit:
            return text
        bare = _assemble(previews, blocks, entries, set(), link)
        if length(bare) <= limit:
            return _assemble(previews, blocks, entries, diff.fitting(blocks, limit - length(bare)), link)
    verdicts = "\n".join([MARKER, *map(sections.verdict, previews)])
    missing = sum(len(preview.steps) for preview in previews)
    return cut(f"{verdicts}\n\n{diff.elsewhere(missing, link)}\n", limit or LIMIT)


def _assemble(
    previews: Sequence[Preview], blocks: Sequence[Sequence[Block]], entries: int | None, shown: set[Place] | None, link: str
) -> str:
    """entries: the most of one list. shown: the resources whose diff is shown; None: all."""
    parts = [MARKER, _token(previews), "## Preview", "\n".join(map(sections.verdict, previews))]
    if len(previews) > 1:
        parts += sections.between_stacks(previews, entries)
    for index, (preview, own_blocks) in enumerate(zip(previews, blocks, strict=True)):
        own_shown = None if shown is None else {resource for stack, resource in shown if stack == index}
        parts += filter(None, _stack(preview, diff.folded(own_blocks, own_shown, link), entries))
    return "\n\n".join(parts) + "\n"


def _stack(preview: Preview, folded_diff: str, entries: int | None) -> Iterator[str]:
    yield f"### Stack {sections.stack_name(preview)}"
    yield sections.failure(preview)
    yield sections.counts(preview)
    yield sections.attention(preview, entries)
    yield sections.exposure(preview, entries)
    yield sections.downtime(preview)
    yield sections.rotation(preview)
    yield sections.images(preview, entries)
    yield automations.section(preview, entries)
    yield sections.policies(preview, entries)
    yield sections.warnings(preview, entries)
    yield f"#### Drift\n\n{sections.drift(preview, entries)}"
    yield folded_diff
    yield f"#### How to apply\n\n{sections.how_to_apply(preview)}"
    yield sections.footer(preview)


def _token(previews: Sequence[Preview]) -> str:
    """The inputs of the previews, for programs that decide whether what is applied later is what was reported here."""
    stacks = {
        preview.stack: {
            "head": preview.head,
            "base": preview.base,
            "config": preview.config_hash,
            "state": preview.state_digest,
            "versions": dict(preview.versions),
        }
        for preview in previews
    }
    # Two hyphens would end the comment.
    text = json.dumps(stacks, sort_keys=True).replace("--", "-\\u002d")
    return f"<!-- token: {text} -->"
