"""The organisation of the smoke runs, apart from the person's: their history holds only what they run themselves.

Skyvern has no call to remove a run, so ``ops smoke`` would leave several in the history at each time, one of them red by intent.
A separate organisation keeps them, with its own key, and Skyvern separates organisations by itself. Called by adopt_api_key.py
with every start of the server. What smoke runs of older versions left with the person is moved here, too.
Not here: files, which stay where they are, because the rows hold their whole paths.
"""

import datetime
import os
from typing import Any

NAME = "Smoke runs (ops smoke)"
# How the titles of the workflows of ops/observe/smoke begin, today and in older versions, and what their definitions hold, one of
# these each: a person may choose the same title.
TITLE = "Smoke run"
CONTENTS = ("http://smoke-site:8080/", "http://169.254.169.254/latest/meta-data/", "answer = 1")
# skyvern/schemas/run_enums.py, forge/sdk/schemas/tasks.py and forge/sdk/models.py in the 1.0.56 wheel.
UNFINISHED = ("created", "queued", "running", "paused")
REASON = "The smoke run was interrupted: the server or ops smoke ended before it."


async def adopt(app: Any) -> str:
    """Makes SMOKE_API_KEY the only key of the smoke runs' organisation, which it names; the organisation's id.

    Raises an error of PyJWT for a key that is expired or not signed with SECRET_KEY.
    """
    import jwt
    from skyvern.config import settings
    from skyvern.forge.sdk.db.enums import OrganizationAuthTokenType

    key = os.environ["SMOKE_API_KEY"]
    organization_id = str(jwt.decode(key, settings.SECRET_KEY, algorithms=[settings.SIGNATURE_ALGORITHM])["sub"])
    organizations = app.DATABASE.organizations
    if await organizations.get_organization(organization_id) is None:
        await organizations.create_organization(organization_name=NAME, organization_id=organization_id)
    kind = OrganizationAuthTokenType.api
    if await organizations.validate_org_auth_token(organization_id=organization_id, token_type=kind, token=key) is None:
        await organizations.replace_org_auth_token(organization_id=organization_id, token_type=kind, token=key)
    return organization_id


async def take_over(app: Any, *, person: str, smoke: str) -> int:
    """Moves the workflows of earlier smoke runs, with all that belongs to them, from one organisation to the other.

    Runs among them that never ended are ended. How many workflows were moved: usually none, which takes one query.
    """
    from skyvern.forge.sdk.db.models import Base
    from sqlalchemy import String, and_, cast, or_, select

    tables = Base.metadata.tables
    workflows, runs, tasks = (tables[name] for name in ("workflows", "workflow_runs", "tasks"))
    definition = cast(workflows.c.workflow_definition, String)
    ours = and_(
        or_(workflows.c.title == TITLE, workflows.c.title.startswith(f"{TITLE}: ")),
        or_(*(definition.contains(text, autoescape=True) for text in CONTENTS)),
    )
    async with app.DATABASE.Session() as session:
        found = select(workflows.c.workflow_permanent_id).where(workflows.c.organization_id == person, ours).distinct()
        workflow_ids = list(await session.scalars(found))
        if not workflow_ids:
            return 0
        run_ids = list(
            await session.scalars(select(runs.c.workflow_run_id).where(runs.c.workflow_permanent_id.in_(workflow_ids)))
        )
        task_ids = list(await session.scalars(select(tasks.c.task_id).where(tasks.c.workflow_run_id.in_(run_ids))))
        known = {"workflow_permanent_id": workflow_ids, "workflow_run_id": run_ids, "run_id": run_ids, "task_id": task_ids}
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        for table in tables.values():
            belongs = [table.c[column].in_(ids) for column, ids in known.items() if ids and column in table.c]
            if not belongs or "organization_id" not in table.c:
                continue
            where = and_(table.c.organization_id == person, or_(*belongs))
            if table.name in {"task_runs", "tasks", "workflow_run_attempts", "workflow_run_blocks", "workflow_runs"}:
                end = {"status": "canceled", "failure_reason": REASON, "finished_at": now}
                values = {column: value for column, value in end.items() if column in table.c}
                await session.execute(table.update().where(where, table.c.status.in_(UNFINISHED)).values(values))
            await session.execute(table.update().where(where).values(organization_id=smoke))
        await session.commit()
    return len(workflow_ids)
