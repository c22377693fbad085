-- What the monitor may read of Skyvern's tables (1.0.56), as functions in a schema of ours. The roles container runs this at each
-- start, as Skyvern's own role, to which the functions belong.
-- Functions and not views: PostgreSQL refuses to change a column that a view names ("cannot alter type of a column used by a view or
-- rule"), so each of Skyvern's migrations could fail. The text of a function is read when it runs: it holds up no migration, and it
-- can be written before the first one.
-- No parameters, outputs, headers, tokens, pages or reasons in words: a reason can quote a page, and a page can hold a secret.
BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL check_function_bodies = off;
DROP SCHEMA IF EXISTS monitor CASCADE;
CREATE SCHEMA monitor;

-- The version of Skyvern's schema; no row before the first migration has ended.
CREATE FUNCTION monitor.schema_version() RETURNS TABLE (version text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT version_num::text FROM alembic_version
$$;

-- Runs that a person, a program or a schedule started: no parts of others and none of the editor. Times are naive UTC in the tables.
CREATE FUNCTION monitor.runs(organization text, since timestamptz, until timestamptz)
RETURNS TABLE (run text, workflow text, status text, schedule text, created timestamptz, queue_seconds float8, seconds float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT workflow_run_id, workflow_permanent_id, status, workflow_schedule_id, created_at AT TIME ZONE 'UTC',
    date_part('epoch', started_at - coalesce(queued_at, created_at)), date_part('epoch', finished_at - started_at)
  FROM workflow_runs
  WHERE organization_id = organization
    AND created_at >= since AT TIME ZONE 'UTC' AND created_at < until AT TIME ZONE 'UTC'
    AND parent_workflow_run_id IS NULL AND debug_session_id IS NULL
$$;

-- The newest title of each workflow, also of deleted ones, whose runs stay.
CREATE FUNCTION monitor.workflows(organization text) RETURNS TABLE (workflow text, title text, deleted boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT ON (workflow_permanent_id) workflow_permanent_id, left(title, 300), deleted_at IS NOT NULL
  FROM workflows WHERE organization_id = organization ORDER BY workflow_permanent_id, version DESC
$$;

-- Of those runs, the ones that ended without success. category: Skyvern's own word. codes: of the workflow's error_code_mapping, or
-- of a code block, looked up by run: most blocks belong to runs that ended well. interrupted: the reason begins as those of
-- images/server/interrupted_runs.py do.
CREATE FUNCTION monitor.failures(organization text, since timestamptz, until timestamptz)
RETURNS TABLE (run text, workflow text, status text, category text, codes text, interrupted boolean, finished timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT r.workflow_run_id, r.workflow_permanent_id, r.status,
    left(CASE WHEN json_typeof(r.failure_category) = 'array' THEN r.failure_category -> 0 ->> 'category' END, 100),
    (
      SELECT left(string_agg(DISTINCT left(code, 100), ', '), 300)
      FROM workflow_run_blocks b,
        json_array_elements_text(CASE WHEN json_typeof(b.error_codes) = 'array' THEN b.error_codes ELSE '[]' END) code
      WHERE b.organization_id = organization AND b.workflow_run_id = r.workflow_run_id AND b.error_codes IS NOT NULL
    ),
    coalesce(r.failure_reason LIKE 'Interrupted: %', false), coalesce(r.finished_at, r.modified_at) AT TIME ZONE 'UTC'
  FROM workflow_runs r
  WHERE r.organization_id = organization AND r.status IN ('failed', 'terminated', 'timed_out')
    AND r.created_at >= since AT TIME ZONE 'UTC' AND r.created_at < until AT TIME ZONE 'UTC'
    AND r.parent_workflow_run_id IS NULL AND r.debug_session_id IS NULL
$$;

-- Of those runs, the ones that ended in a time; what takes longer than a week from its request is left out, so that the index serves.
CREATE FUNCTION monitor.ended(organization text, since timestamptz, until timestamptz)
RETURNS TABLE (run text, workflow text, status text, queue_seconds float8, seconds float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT workflow_run_id, workflow_permanent_id, status, date_part('epoch', started_at - coalesce(queued_at, created_at)),
    date_part('epoch', finished_at - started_at)
  FROM workflow_runs
  WHERE organization_id = organization AND created_at >= since AT TIME ZONE 'UTC' - interval '7 days'
    AND finished_at >= since AT TIME ZONE 'UTC' AND finished_at < until AT TIME ZONE 'UTC'
    AND status IN ('completed', 'failed', 'terminated', 'timed_out', 'canceled')
    AND parent_workflow_run_id IS NULL AND debug_session_id IS NULL
$$;

CREATE FUNCTION monitor.unfinished(organization text)
RETURNS TABLE (run text, workflow text, status text, created timestamptz, started timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT workflow_run_id, workflow_permanent_id, status, created_at AT TIME ZONE 'UTC', started_at AT TIME ZONE 'UTC'
  FROM workflow_runs
  WHERE organization_id = organization AND status IN ('created', 'queued', 'running', 'paused')
    AND parent_workflow_run_id IS NULL AND debug_session_id IS NULL
$$;

-- A call of a model is in exactly one of three tables. cost: in USD; 0 is what Skyvern writes for a model without a price, so a sum of
-- 0 with tokens is "unknown". Blocks have a cost alone, without model and tokens.
CREATE FUNCTION monitor.spending(organization text, since timestamptz, until timestamptz)
RETURNS TABLE (workflow text, model text, cost float8, input_tokens bigint, output_tokens bigint, calls bigint, unpriced bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  WITH calls AS (
    SELECT t.workflow_run_id AS run, s.last_llm_model AS model, s.step_cost AS cost, s.input_token_count AS tokens_in,
      s.output_token_count AS tokens_out
    FROM steps s JOIN tasks t USING (task_id)
    WHERE s.organization_id = organization
      AND s.created_at >= since AT TIME ZONE 'UTC' AND s.created_at < until AT TIME ZONE 'UTC'
    UNION ALL
    SELECT workflow_run_id, last_llm_model, thought_cost, input_token_count, output_token_count FROM observer_thoughts
    WHERE organization_id = organization
      AND created_at >= since AT TIME ZONE 'UTC' AND created_at < until AT TIME ZONE 'UTC'
    UNION ALL
    SELECT workflow_run_id, NULL, llm_cost, 0, 0 FROM workflow_run_blocks
    WHERE organization_id = organization AND llm_cost > 0
      AND created_at >= since AT TIME ZONE 'UTC' AND created_at < until AT TIME ZONE 'UTC'
  )
  SELECT r.workflow_permanent_id, left(c.model, 200), coalesce(sum(c.cost), 0)::float8, coalesce(sum(c.tokens_in), 0)::bigint,
    coalesce(sum(c.tokens_out), 0)::bigint, count(*),
    count(*) FILTER (WHERE coalesce(c.cost, 0) = 0 AND coalesce(c.tokens_in, 0) + coalesce(c.tokens_out, 0) > 0)
  FROM calls c LEFT JOIN workflow_runs r ON r.workflow_run_id = c.run
  WHERE coalesce(c.cost, 0) > 0 OR coalesce(c.tokens_in, 0) + coalesce(c.tokens_out, 0) > 0
  GROUP BY 1, 2
$$;

-- last: when a run of it was last made. IS NOT DISTINCT FROM, which no index serves: so PostgreSQL reads the workflow's runs from the
-- newest back, and stops at the first of this schedule; by the index of the schedule it would read all of them.
CREATE FUNCTION monitor.schedules(organization text)
RETURNS TABLE (schedule text, name text, workflow text, enabled boolean, cron text, every_seconds int, first timestamptz,
  once timestamptz, timezone text, modified timestamptz, last timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT s.workflow_schedule_id, left(s.name, 300), s.workflow_permanent_id, s.enabled, s.cron_expression, s.interval_seconds,
    s.first_fire_at AT TIME ZONE 'UTC', s.run_at AT TIME ZONE 'UTC', s.timezone, s.modified_at AT TIME ZONE 'UTC',
    (
      SELECT r.created_at FROM workflow_runs r
      WHERE r.workflow_permanent_id = s.workflow_permanent_id AND r.created_at >= s.created_at
        AND r.workflow_schedule_id IS NOT DISTINCT FROM s.workflow_schedule_id
      ORDER BY r.created_at DESC LIMIT 1
    ) AT TIME ZONE 'UTC'
  FROM workflow_schedules s WHERE s.organization_id = organization AND s.deleted_at IS NULL
$$;

-- When PostgreSQL began, and the oldest session of the function's owner, which is Skyvern's role; NULL without one.
CREATE FUNCTION monitor.starts() RETURNS TABLE (database timestamptz, sessions timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT pg_postmaster_start_time(), (SELECT min(backend_start) FROM pg_stat_activity WHERE usename = current_user)
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA monitor FROM PUBLIC;
GRANT USAGE ON SCHEMA monitor TO :"reader";
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA monitor TO :"reader";
COMMIT;
