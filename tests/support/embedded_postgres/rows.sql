-- Runs of 90 days, oldest first, as Skyvern adds them. :runs and :now are replaced. The same rows each time.
SELECT setseed(0.5);

INSERT INTO alembic_version VALUES ('4452dbf24863');

INSERT INTO workflows (workflow_id, organization_id, title, workflow_definition, created_at, modified_at, deleted_at,
  workflow_permanent_id, version, persist_browser_session, status, generate_script)
SELECT 'w_' || number || '_' || version, CASE WHEN number = 40 THEN 'o_2' ELSE 'o_1' END,
  'Workflow ' || number || ' v' || version, json_build_object('blocks', repeat(md5(number::text), 120)), :now - interval '100 days',
  :now - interval '100 days', CASE WHEN number = 39 THEN :now END, 'wpid_' || number, version, false, 'published', false
FROM generate_series(1, 40) number, generate_series(1, 5) version;

CREATE TEMP TABLE drawn AS
SELECT number, 1 + floor(39 * random() * random())::int AS workflow, random() AS fate, random() AS kind, random() AS long,
  :now - interval '90 days' * (1 - (number - random()) / :runs) AS created
FROM generate_series(1, :runs) number;

INSERT INTO workflow_runs (workflow_run_id, workflow_id, workflow_permanent_id, organization_id, status, created_at, modified_at,
  queued_at, started_at, finished_at, parent_workflow_run_id, debug_session_id, workflow_schedule_id, failure_reason, failure_category,
  extra_http_headers, browser_settings)
SELECT 'wr_' || number, 'w_' || p.workflow || '_5', 'wpid_' || p.workflow, p.organization, p.status, created, coalesce(finished, created),
  CASE WHEN kind < 0.9 THEN created END, started, CASE WHEN started IS NOT NULL THEN finished END,
  CASE WHEN kind BETWEEN 0.2 AND 0.25 THEN 'wr_1' END, CASE WHEN kind BETWEEN 0.26 AND 0.28 THEN 'ds_1' END,
  CASE WHEN kind > 0.5 THEN 'wfs_' || p.workflow END,
  CASE WHEN p.failed THEN CASE WHEN kind > 0.9 THEN 'Interrupted: the server stopped.' ELSE repeat('why ', 60) END END,
  CASE WHEN p.failed AND kind < 0.7 THEN json_build_array(json_build_object('category', CASE WHEN long < 0.5 THEN 'NAVIGATION_FAILURE'
    ELSE 'LLM_ERROR' END, 'reasoning', repeat('because ', 40))) WHEN p.failed AND kind < 0.8 THEN '{}'::json END,
  json_build_object('x-reference', md5(number::text)), json_build_object('viewport', repeat(md5(number::text), 8))
FROM drawn d, LATERAL (
  SELECT CASE WHEN kind BETWEEN 0.3 AND 0.33 THEN 'o_2' ELSE 'o_1' END AS organization,
    CASE WHEN kind BETWEEN 0.3 AND 0.33 THEN 40 ELSE workflow END AS workflow,
    CASE WHEN fate < 0.85 THEN 'completed' WHEN fate < 0.92 THEN 'failed' WHEN fate < 0.94 THEN 'terminated'
      WHEN fate < 0.95 THEN 'timed_out' WHEN fate < 0.96 THEN 'canceled' WHEN d.created < :now - interval '2 days' THEN 'completed'
      WHEN fate < 0.975 THEN 'queued' WHEN fate < 0.99 THEN 'running' ELSE 'paused' END AS status,
    fate BETWEEN 0.85 AND 0.95 AS failed
) p, LATERAL (
  SELECT CASE WHEN p.status <> 'queued' AND (p.status <> 'canceled' OR long < 0.5)
    THEN created + interval '1 second' * (30 * long * long) END AS started
) s, LATERAL (
  SELECT CASE WHEN p.status NOT IN ('queued', 'running', 'paused') THEN created + interval '1 second' * (40 + 900 * long * long) END AS finished
) f
ORDER BY created;

INSERT INTO tasks (task_id, organization_id, status, url, navigation_goal, workflow_run_id, created_at, modified_at, errors)
SELECT 'tsk_' || number, organization_id, 'completed', 'https://example.com/' || number, repeat('do ', 100), workflow_run_id, created_at,
  created_at, '[]' FROM drawn JOIN workflow_runs ON workflow_run_id = 'wr_' || number;

INSERT INTO steps (step_id, organization_id, task_id, status, output, "order", created_at, modified_at, input_token_count,
  output_token_count, step_cost, last_llm_model)
SELECT 'stp_' || number || '_' || step, organization_id, 'tsk_' || number, 'completed',
  json_build_object('actions', repeat(md5(number::text), 14)), step, created_at + interval '20 seconds' * step, created_at,
  CASE WHEN kind < 0.95 THEN 1000 + (number % 700) END, CASE WHEN kind < 0.95 THEN 50 + step END,
  CASE WHEN workflow % 5 > 0 THEN 0.001 * (1 + step) ELSE 0 END,
  CASE WHEN workflow % 5 = 0 THEN 'ollama/qwen' WHEN workflow % 5 = 1 THEN NULL ELSE 'gpt-' || workflow % 3 END
FROM drawn JOIN workflow_runs ON workflow_run_id = 'wr_' || number, generate_series(0, 2) step;

INSERT INTO workflow_run_blocks (workflow_run_block_id, workflow_run_id, organization_id, task_id, block_type, status, output,
  continue_on_failure, created_at, modified_at, error_codes, llm_cost)
SELECT 'wrb_' || number || '_' || block, workflow_run_id, organization_id, CASE WHEN block = 0 THEN 'tsk_' || number END,
  (ARRAY['task', 'code', 'text_prompt'])[block + 1], r.status, json_build_object('text', repeat(md5(number::text), 10)), false,
  created_at + interval '5 seconds' * block, created_at,
  CASE WHEN fate BETWEEN 0.85 AND 0.95 AND kind < 0.4 AND block = 1 THEN json_build_array('LOGIN_EXPIRED', 'CODE_' || number % 5) END,
  CASE WHEN block = 2 AND number % 7 = 0 THEN 0.002 ELSE 0 END
FROM drawn JOIN workflow_runs r ON workflow_run_id = 'wr_' || number, generate_series(0, 2) block;

INSERT INTO observer_thoughts (observer_thought_id, organization_id, observer_cruise_id, workflow_run_id, created_at, modified_at,
  thought, input_token_count, output_token_count, thought_cost, last_llm_model)
SELECT 'ot_' || number, organization_id, 'oc_1', workflow_run_id, created_at + interval '2 seconds', created_at, repeat('hm ', 100), 300, 20,
  0.0005, 'gpt-0' FROM drawn JOIN workflow_runs ON workflow_run_id = 'wr_' || number WHERE number % 5 = 0;

INSERT INTO workflow_schedules (workflow_schedule_id, organization_id, workflow_permanent_id, cron_expression, timezone, enabled, name,
  created_at, modified_at)
SELECT 'wfs_' || number, 'o_1', 'wpid_' || number, number % 60 || ' * * * *', 'Asia/Seoul', number % 10 > 0, 'Schedule ' || number,
  :now - interval '95 days', :now - interval '95 days'
FROM generate_series(1, 39) number;

DROP TABLE drawn;
