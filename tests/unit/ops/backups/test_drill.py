"""What a drill leaves for others. The drill itself is in tests/host."""

from datetime import UTC, datetime
from pathlib import Path

from ops.backups import drill
from ops.observe.backups import Drill
from ops.stack.stack import Stack


def test_the_day_of_a_drill_is_written_into_the_stack_file(tmp_path: Path) -> None:
    stack = Stack("prod", tmp_path)
    text = "config:\n  skyvern:backup:\n    # another disk\n    type: path\n    path: /mnt/d/skyvern\n"
    (tmp_path / stack.file_name).write_text(text)
    passed = Drill(at=datetime(2026, 11, 28, 23, 59, tzinfo=UTC), set="x", seconds=95, verdict="passed")
    assert drill.record(stack, passed) == "Pulumi.prod.yaml: backup.drilled: 2026-11-28; commit it"
    assert stack.file.read_text() == text + "    drilled: '2026-11-28'\n"
    assert stack.settings().backup.drilled == "2026-11-28"  # type: ignore[union-attr]  # there is a backup
