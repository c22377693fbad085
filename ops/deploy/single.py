"""``ops restore SET --workflow | --credential | --file``: one thing of a set, brought back into the stack that runs.

Skyvern deletes workflows and credentials by a date in their rows (1.0.56), and a credential's entry in the vault for good. What
the set has and was deleted here, or is older here, is put in place; what is newer here is refused unless it is to be discarded.
Not here: a whole set (ops/deploy/restore.py).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.host.volumes import SKYVERN_FOLDERS, folder_path
from ops.backups import copies, notes
from ops.backups.copies import Record, Source
from ops.clients import process
from ops.clients.terminal import Progress
from ops.errors import UserError, explained
from ops.stack import database
from ops.stack.stack import Stack

# What a workflow consists of, by table: the key of a row.
WORKFLOW_TABLES = {
    "workflows": "workflow_id",
    "workflow_parameters": "workflow_parameter_id",
    "output_parameters": "output_parameter_id",
    "aws_secret_parameters": "aws_secret_parameter_id",
    "credential_parameters": "credential_parameter_id",
    "bitwarden_login_credential_parameters": "bitwarden_login_credential_parameter_id",
    "bitwarden_sensitive_information_parameters": "bitwarden_sensitive_information_parameter_id",
    "bitwarden_credit_card_data_parameters": "bitwarden_credit_card_data_parameter_id",
    "onepassword_credential_parameters": "onepassword_credential_parameter_id",
    "azure_vault_credential_parameters": "azure_vault_credential_parameter_id",
    "workflow_schedules": "workflow_schedule_id",
}
CREDENTIAL_TABLES = {"credentials": "credential_id"}
_COPY = re.compile(r"COPY public\.(\w+) \((.*)\) FROM stdin;")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
NULL = r"\N"


@dataclass(frozen=True)
class Rows:
    """Rows of one table in the text of COPY. values: as they are there, escaped; NULL for null."""

    table: str
    columns: Sequence[str]
    values: Sequence[Sequence[str]]

    def where(self, column: str, *wanted: str) -> "Rows":
        """The rows that have one of these values."""
        index = self.columns.index(column)
        return Rows(self.table, self.columns, [row for row in self.values if row[index] in wanted])

    def having(self, column: str, value: str) -> "Rows":
        """The same rows with another value."""
        index = self.columns.index(column)
        return Rows(self.table, self.columns, [[*row[:index], value, *row[index + 1 :]] for row in self.values])

    def all(self, column: str) -> list[str]:
        """The values of a column."""
        return [row[self.columns.index(column)] for row in self.values]


def parse_rows(text: str) -> dict[str, Rows]:
    """Tables from what ``skyvern-backup rows`` prints."""
    tables: dict[str, Rows] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if begun := _COPY.fullmatch(line):
            values = []
            for row in lines:
                if row == "\\.":
                    break
                values.append(row.split("\t"))
            columns = [name.strip().strip('"') for name in begun[2].split(",")]
            tables[begun[1]] = Rows(begun[1], columns, values)
    return tables


def put(rows: Rows, key: str) -> str:
    """SQL that puts rows in place of those with the same key. A folder that is gone is left out."""
    if not rows.values:
        return ""
    names = ", ".join(f'"{name}"' for name in rows.columns)
    new = ", ".join(f'excluded."{name}"' for name in rows.columns)
    data = "\n".join("\t".join(row) for row in rows.values)
    folders = {"workflows": "folders", "credentials": "credential_folders"}.get(rows.table)
    gone = (
        f'UPDATE "set_{rows.table}" SET folder_id = NULL WHERE folder_id NOT IN (SELECT folder_id FROM {folders});\n'  # noqa: S608
        if folders and "folder_id" in rows.columns
        else ""
    )
    fresh = f'"set_{rows.table}"'
    return "".join(
        (
            f'CREATE TEMP TABLE {fresh} (LIKE public."{rows.table}" INCLUDING DEFAULTS);\n',
            f"COPY {fresh} ({names}) FROM stdin;\n{data}\n\\.\n{gone}",
            f'INSERT INTO public."{rows.table}" ({names}) SELECT {names} FROM {fresh} ',  # noqa: S608
            f'ON CONFLICT ("{key}") DO UPDATE SET ({names}) = ROW({new});\n',
        )
    )


# --- What is brought back -------------------------------------------------------------------------------------------------


def bring_back(
    stack: Stack,
    name: str | None,
    *,
    workflow: str | None,
    credential: str | None,
    file: str | None,
    discard_newer: bool,
    progress: Progress,
) -> None:
    """One of the three; UserError with one line, and then nothing was changed."""
    given = [one for one in (workflow, credential, file) if one is not None]
    if len(given) != 1:
        raise UserError("ops restore: give one of --workflow, --credential and --file at a time")
    if file is None and not _ID.fullmatch(given[0]):
        raise UserError(f"ops restore: {given[0]!r} is not an id; the UI has it in the address of the page, wpid_... or cred_...")
    if file is not None:
        folder_of(file)
    # In the middle of a restore it would be put into what that replaces.
    with notes.alone(stack):
        source = copies.source(stack)
        record = source.record(name or "latest")
        if workflow is not None:
            said = _workflow(source, record, workflow, over=discard_newer)
        elif credential is not None:
            said = _credential(source, record, credential, over=discard_newer)
        else:
            said = _file(source, record, str(file), over=discard_newer)
    progress(f"stack {stack}: {said}")


def _workflow(source: Source, record: Record, identifier: str, *, over: bool) -> str:
    tables = parse_rows(source.ask("rows", record.name, *WORKFLOW_TABLES, timeout_seconds=3600))
    versions = tables["workflows"].where("workflow_permanent_id", identifier).where("deleted_at", NULL)
    if not versions.values:
        raise UserError(f"set {record.name} has no workflow {identifier}")
    newest = max(map(int, versions.all("version")))
    here = _here(source, "workflows", "workflow_permanent_id", identifier, "max(version)")
    there = (str(newest), max(versions.all("modified_at")))
    what, again = f"workflow {identifier}", "paused: start them in the UI"
    schedules = _schedules(tables, identifier)
    if here == there and not over and (deleted := _deleted_here(source, schedules, identifier)):
        _change(source, put(deleted, WORKFLOW_TABLES[deleted.table]))
        back = f"{len(deleted.values)} schedules of it that had been deleted are here again, {again}"
        return f"{what} is here as it is in set {record.name}; {back}"
    _refuse_newer(what, record, here, there, over=over)
    parts = [versions, *([] if schedules is None else [schedules])]
    for table in WORKFLOW_TABLES.keys() & tables.keys() - {"workflows", "workflow_schedules"}:
        parts.append(tables[table].where("workflow_id", *versions.all("workflow_id")))
    later = (
        "UPDATE public.workflows SET deleted_at = now() at time zone 'UTC' WHERE deleted_at IS NULL "  # noqa: S608
        f"AND workflow_permanent_id = '{identifier}' AND version > {newest};\n"
        + _aside(identifier, versions.all("workflow_id"), versions.all("version"))
    )
    parts.sort(key=lambda rows: list(WORKFLOW_TABLES).index(rows.table))
    _change(source, later + "".join(put(rows, WORKFLOW_TABLES[rows.table]) for rows in parts))
    paused = f"; its {len(schedules.values)} schedules are {again}" if schedules and schedules.values else ""
    return f"{what} is version {newest} of set {record.name}{paused}"


def _schedules(tables: Mapping[str, Rows], identifier: str) -> Rows | None:
    """Those of a workflow, paused: their runs since the set was made would be repeated. None in a set without their table."""
    rows = tables.get("workflow_schedules")
    if rows is None:
        return None
    return rows.where("workflow_permanent_id", identifier).where("deleted_at", NULL).having("enabled", "f")


def _deleted_here(source: Source, schedules: Rows | None, identifier: str) -> Rows | None:
    """Those of them that the stack does not have any more, which only their own rows say; None without any."""
    if schedules is None or not schedules.values:
        return None
    query = (
        "SELECT workflow_schedule_id FROM public.workflow_schedules "  # noqa: S608
        f"WHERE workflow_permanent_id = '{identifier}' AND deleted_at IS NULL"
    )
    here = database.ask(source.stack, source.docker, f"{query};", as_owner=True).split()
    missing = schedules.where("workflow_schedule_id", *(set(schedules.all("workflow_schedule_id")) - set(here)))
    return missing if missing.values else None


def _aside(identifier: str, ids: Sequence[str], numbers: Sequence[str]) -> str:
    """SQL for versions that have a number of the set's and are others: made after a whole restore had gone back behind it.

    The pair of workflow and number is unique (1.0.56). They stay as deleted ones, below all numbers that Skyvern gives.
    """
    listed = "','".join(ids)
    return f"""UPDATE public.workflows w SET deleted_at = coalesce(deleted_at, now() at time zone 'UTC'), version = aside.number
FROM (SELECT workflow_id, (SELECT least(0, min(version)) FROM public.workflows WHERE workflow_permanent_id = '{identifier}')
  - row_number() OVER (ORDER BY version) AS number
  FROM public.workflows WHERE workflow_permanent_id = '{identifier}' AND version IN ({", ".join(numbers)})
  AND workflow_id NOT IN ('{listed}')) aside
WHERE w.workflow_id = aside.workflow_id;
"""  # noqa: S608


def _credential(source: Source, record: Record, identifier: str, *, over: bool) -> str:
    rows = parse_rows(source.ask("rows", record.name, *CREDENTIAL_TABLES, timeout_seconds=3600))["credentials"]
    rows = rows.where("credential_id", identifier).where("deleted_at", NULL)
    if not rows.values:
        raise UserError(f"set {record.name} has no credential {identifier}")
    here = _here(source, "credentials", "credential_id", identifier, "count(*)")
    _refuse_newer(f"credential {identifier}", record, here, ("1", max(rows.all("modified_at"))), over=over)
    (item,) = rows.all("item_id")
    # Before the row that names it. Entries never change: each update has a new one.
    if rows.all("vault_type") == ["skyvern"] and _ID.fullmatch(item):
        _file(source, record, f"credential_vault/{item}.bin", over=True)
    _change(source, put(rows, "credential_id"))
    return f"credential {identifier} is that of set {record.name}"


def _file(source: Source, record: Record, path: str, *, over: bool) -> str:
    folder = folder_of(path)
    flags = (source.stack.mount(folder, folder_path(folder)),)
    try:
        source.ask("file", record.name, path, *(["replace"] if over else []), flags=flags, timeout_seconds=3600)
    except UserError as failed:
        again = "; add --discard-newer to replace it" if " is newer here " in str(failed) else ""
        raise UserError(f"{failed}{again}") from failed
    return f"{path} is that of set {record.name}"


def folder_of(path: str) -> str:
    """The part of the stack whose volume a path is in, ``downloads/wr_1/report.pdf``; UserError for any other path."""
    for folder in SKYVERN_FOLDERS:
        top = folder_path(folder).removeprefix("/data/")
        if path.startswith(f"{top}/") and not {"", ".", ".."} & set(path.split("/")):
            return folder
    tops = ", ".join(folder_path(folder).removeprefix("/data/") for folder in SKYVERN_FOLDERS)
    raise UserError(f"ops restore: --file {path}: is in none of the folders of a set ({tops}); write downloads/wr_1/report.pdf")


# --- The live database ----------------------------------------------------------------------------------------------------


def _here(source: Source, table: str, key: str, identifier: str, newest: str) -> tuple[str, str] | None:
    """Version and last change of what the stack has; None if it has none, or a deleted one."""
    query = (
        f"SELECT {newest}, max(modified_at) FROM public.{table} WHERE {key} = '{identifier}' AND deleted_at IS NULL "  # noqa: S608
        "HAVING count(*) > 0"
    )
    said = database.ask(source.stack, source.docker, f"{query};", as_owner=True)
    version, _, at = said.partition("|")
    return (version, at) if said else None


def _refuse_newer(what: str, record: Record, here: tuple[str, str] | None, there: tuple[str, str], *, over: bool) -> None:
    if here is None:
        return
    if here == there and not over:
        raise UserError(f"{what} is here as it is in set {record.name}; nothing was changed")
    if not over and (int(here[0]), here[1]) > (int(there[0]), there[1]):
        raise UserError(
            f"{what} is newer here (changed {here[1][:16]} UTC) than in set {record.name} ({there[1][:16]} UTC); add "
            "--discard-newer to replace it"
        )


def _change(source: Source, script: str) -> None:
    refused = f"stack {source.stack}: the database refuses it, and nothing was changed"
    with explained(lambda failed: f"{refused}: {reason_of(failed)}"):
        database.ask(source.stack, source.docker, f"BEGIN;\n{script}COMMIT;\n", as_owner=True)


def reason_of(failed: UserError) -> str:
    """psql's error without its further lines (DETAIL, CONTEXT), which repeat values."""
    _, _, said = str(failed).partition("ERROR:")
    return process.lines_of(said)[0].strip() or "see ops logs postgres"
