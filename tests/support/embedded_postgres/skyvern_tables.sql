-- The eight tables that the monitor reads, with every column and index, as the migrations of Skyvern 1.0.56 make them on PostgreSQL 17
-- (pg_attribute, pg_indexes). No foreign keys: a test fills these tables only.
CREATE TABLE alembic_version (
  version_num character varying(32) NOT NULL
);
CREATE UNIQUE INDEX alembic_version_pkc ON alembic_version USING btree (version_num);
CREATE TABLE observer_thoughts (
  observer_thought_id character varying NOT NULL,
  organization_id character varying,
  observer_cruise_id character varying NOT NULL,
  workflow_run_id character varying,
  workflow_run_block_id character varying,
  workflow_id character varying,
  thought character varying,
  answer character varying,
  user_input text,
  observation character varying,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  workflow_permanent_id character varying,
  observer_thought_type character varying,
  observer_thought_scenario character varying,
  output json,
  input_token_count integer,
  output_token_count integer,
  thought_cost numeric,
  reasoning_token_count integer,
  cached_token_count integer,
  last_llm_model character varying
);
CREATE INDEX ix_observer_thoughts_org_created_at ON observer_thoughts USING btree (organization_id, created_at);
CREATE INDEX observer_cruise_index ON observer_thoughts USING btree (organization_id, observer_cruise_id);
CREATE UNIQUE INDEX observer_thoughts_pkey ON observer_thoughts USING btree (observer_thought_id);
CREATE TABLE steps (
  step_id character varying NOT NULL,
  organization_id character varying,
  task_id character varying,
  status character varying,
  output json,
  "order" integer,
  is_last boolean,
  retry_index integer,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  input_token_count integer,
  output_token_count integer,
  step_cost numeric,
  reasoning_token_count integer,
  cached_token_count integer,
  finished_at timestamp without time zone,
  created_by character varying,
  last_llm_model character varying
);
CREATE INDEX created_at_org_index ON steps USING btree (created_at, organization_id);
CREATE INDEX ix_steps_task_id ON steps USING btree (task_id);
CREATE INDEX org_task_index ON steps USING btree (organization_id, task_id);
CREATE UNIQUE INDEX steps_pkey ON steps USING btree (step_id);
CREATE TABLE tasks (
  task_id character varying NOT NULL,
  organization_id character varying,
  status character varying,
  webhook_callback_url character varying,
  url character varying,
  navigation_goal character varying,
  data_extraction_goal character varying,
  navigation_payload json,
  extracted_information json,
  failure_reason character varying,
  proxy_location character varying,
  extracted_information_schema json,
  workflow_run_id character varying,
  "order" integer,
  retry integer,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  title character varying,
  error_code_mapping json,
  errors json NOT NULL,
  max_steps_per_run integer,
  totp_verification_url character varying,
  totp_identifier character varying,
  complete_criterion character varying,
  terminate_criterion character varying,
  task_type character varying,
  application character varying,
  include_action_history_in_verification boolean,
  model json,
  queued_at timestamp without time zone,
  started_at timestamp without time zone,
  finished_at timestamp without time zone,
  max_screenshot_scrolling_times integer,
  extra_http_headers json,
  browser_session_id character varying,
  webhook_failure_reason character varying,
  browser_address character varying,
  download_timeout numeric,
  waiting_for_verification_code boolean NOT NULL DEFAULT false,
  verification_code_identifier character varying,
  verification_code_polling_started_at timestamp without time zone,
  failure_category json,
  include_extracted_text boolean NOT NULL DEFAULT true,
  workflow_system_prompt text,
  cdp_connect_headers json,
  attempt_number integer
);
CREATE INDEX idx_tasks_org_created ON tasks USING btree (organization_id, created_at);
CREATE INDEX ix_tasks_browser_session_id ON tasks USING btree (browser_session_id);
CREATE INDEX ix_tasks_created_at ON tasks USING btree (created_at);
CREATE INDEX ix_tasks_modified_at ON tasks USING btree (modified_at);
CREATE INDEX ix_tasks_nonterminal_status ON tasks USING btree (status, modified_at, created_at) WHERE ((status)::text = ANY ((ARRAY['created'::character varying, 'queued'::character varying, 'running'::character varying])::text[]));
CREATE INDEX ix_tasks_status ON tasks USING btree (status);
CREATE INDEX ix_tasks_workflow_run_id ON tasks USING btree (workflow_run_id);
CREATE UNIQUE INDEX tasks_pkey ON tasks USING btree (task_id);
CREATE TABLE workflow_run_blocks (
  workflow_run_block_id character varying NOT NULL,
  workflow_run_id character varying NOT NULL,
  parent_workflow_run_block_id character varying,
  organization_id character varying,
  task_id character varying,
  label character varying,
  block_type character varying NOT NULL,
  status character varying NOT NULL,
  output json,
  continue_on_failure boolean NOT NULL,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  failure_reason character varying,
  loop_values json,
  current_value character varying,
  current_index integer,
  recipients json,
  attachments json,
  subject character varying,
  body character varying,
  prompt character varying,
  wait_sec integer,
  description character varying,
  block_workflow_run_id character varying,
  engine character varying,
  http_request_method character varying(10),
  http_request_url character varying,
  http_request_headers json,
  http_request_timeout integer,
  http_request_follow_redirects boolean,
  http_request_body json,
  http_request_parameters json,
  instructions character varying,
  positive_descriptor character varying,
  negative_descriptor character varying,
  executed_branch_id character varying,
  executed_branch_expression character varying,
  executed_branch_result boolean,
  executed_branch_next_block character varying,
  error_codes json,
  llm_cost numeric NOT NULL DEFAULT '0'::numeric,
  script_run json,
  downloaded_file_count integer,
  final_url character varying,
  finish_reason character varying,
  attempt_number integer,
  capped_output json
);
CREATE INDEX ix_workflow_run_blocks_org_created_at ON workflow_run_blocks USING btree (organization_id, created_at);
CREATE INDEX ix_workflow_run_blocks_task_id ON workflow_run_blocks USING btree (task_id);
CREATE INDEX wfrb_org_wfr_index ON workflow_run_blocks USING btree (organization_id, workflow_run_id);
CREATE UNIQUE INDEX workflow_run_blocks_pkey ON workflow_run_blocks USING btree (workflow_run_block_id);
CREATE TABLE workflow_runs (
  workflow_run_id character varying NOT NULL,
  workflow_id character varying NOT NULL,
  status character varying NOT NULL,
  proxy_location character varying,
  webhook_callback_url character varying,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  workflow_permanent_id character varying NOT NULL,
  organization_id character varying NOT NULL,
  totp_verification_url character varying,
  totp_identifier character varying,
  failure_reason character varying,
  parent_workflow_run_id character varying,
  queued_at timestamp without time zone,
  started_at timestamp without time zone,
  finished_at timestamp without time zone,
  max_screenshot_scrolling_times integer,
  extra_http_headers json,
  browser_session_id character varying,
  webhook_failure_reason character varying,
  browser_address character varying,
  script_run json,
  job_id character varying,
  run_with character varying,
  sequential_key character varying,
  debug_session_id character varying,
  ai_fallback boolean,
  code_gen boolean,
  depends_on_workflow_run_id character varying,
  browser_profile_id character varying,
  waiting_for_verification_code boolean NOT NULL DEFAULT false,
  verification_code_identifier character varying,
  verification_code_polling_started_at timestamp without time zone,
  trigger_type character varying,
  workflow_schedule_id character varying,
  failure_category json,
  ignore_inherited_workflow_system_prompt boolean NOT NULL DEFAULT false,
  copilot_session_id character varying,
  credits_used integer DEFAULT 0,
  cached_credits_used integer DEFAULT 0,
  cdp_connect_headers json,
  max_elapsed_time_minutes integer,
  topup_credits_used integer DEFAULT 0,
  retried_from_workflow_run_id character varying,
  fallback_attempt integer,
  browser_seed_source character varying,
  browser_sink_profile_id character varying,
  start_fresh_browser boolean,
  sequential_credential_id character varying,
  browser_runtime character varying,
  secure_runner_pinned boolean,
  reuse_browser_session boolean,
  reuse_bound_key character varying,
  browser_type character varying,
  task_queue character varying,
  target_cluster character varying,
  webhook_delivery_status character varying,
  webhook_delivery_finalized_at timestamp without time zone,
  failure_attribution json,
  billing_exempt_at_admission boolean,
  created_by character varying,
  workflow_definition_sha256 character varying,
  browser_settings json,
  browser_settings_receipt json
);
CREATE INDEX idx_workflow_runs_org_created ON workflow_runs USING btree (organization_id, created_at);
CREATE INDEX idx_workflow_runs_wpid_created ON workflow_runs USING btree (workflow_permanent_id, created_at);
CREATE INDEX ix_workflow_runs_browser_address ON workflow_runs USING btree (browser_address);
CREATE INDEX ix_workflow_runs_browser_profile_id ON workflow_runs USING btree (browser_profile_id);
CREATE INDEX ix_workflow_runs_browser_session_id ON workflow_runs USING btree (browser_session_id);
CREATE INDEX ix_workflow_runs_depends_on_workflow_run_id ON workflow_runs USING btree (depends_on_workflow_run_id);
CREATE INDEX ix_workflow_runs_job_id ON workflow_runs USING btree (job_id);
CREATE INDEX ix_workflow_runs_job_recipe_listing ON workflow_runs USING btree (organization_id, created_at DESC, workflow_run_id DESC) WHERE ((trigger_type)::text = ANY ((ARRAY['job_recipe_apply'::character varying, 'job_recipe_extract'::character varying])::text[]));
CREATE INDEX ix_workflow_runs_modified_at ON workflow_runs USING btree (modified_at);
CREATE INDEX ix_workflow_runs_nonterminal_status ON workflow_runs USING btree (status, modified_at, created_at) WHERE ((status)::text = ANY ((ARRAY['created'::character varying, 'queued'::character varying, 'running'::character varying, 'paused'::character varying])::text[]));
CREATE INDEX ix_workflow_runs_organization_id ON workflow_runs USING btree (organization_id);
CREATE INDEX ix_workflow_runs_parent_workflow_run_id ON workflow_runs USING btree (parent_workflow_run_id);
CREATE UNIQUE INDEX ix_workflow_runs_retried_from_workflow_run_id ON workflow_runs USING btree (retried_from_workflow_run_id) WHERE (retried_from_workflow_run_id IS NOT NULL);
CREATE INDEX ix_workflow_runs_sequential_credential_gate ON workflow_runs USING btree (organization_id, sequential_credential_id, queued_at) WHERE ((sequential_credential_id IS NOT NULL) AND ((status)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'paused'::character varying])::text[])));
CREATE INDEX ix_workflow_runs_sequential_key_lookup ON workflow_runs USING btree (workflow_permanent_id, sequential_key, queued_at) WHERE (((status)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'paused'::character varying])::text[])) AND (browser_session_id IS NULL));
CREATE INDEX ix_workflow_runs_serialized_ticket ON workflow_runs USING btree (organization_id, queued_at DESC) WHERE ((status)::text = ANY ((ARRAY['queued'::character varying, 'running'::character varying, 'paused'::character varying])::text[]));
CREATE INDEX ix_workflow_runs_workflow_permanent_id ON workflow_runs USING btree (workflow_permanent_id);
CREATE INDEX ix_workflow_runs_workflow_schedule_id ON workflow_runs USING btree (workflow_schedule_id);
CREATE UNIQUE INDEX workflow_runs_pkey ON workflow_runs USING btree (workflow_run_id);
CREATE TABLE workflow_schedules (
  workflow_schedule_id character varying NOT NULL,
  organization_id character varying NOT NULL,
  workflow_permanent_id character varying NOT NULL,
  cron_expression character varying,
  timezone character varying NOT NULL,
  enabled boolean NOT NULL DEFAULT true,
  parameters json,
  temporal_schedule_id character varying,
  name character varying,
  description character varying,
  created_at timestamp without time zone NOT NULL DEFAULT now(),
  modified_at timestamp without time zone NOT NULL DEFAULT now(),
  deleted_at timestamp without time zone,
  interval_seconds integer,
  first_fire_at timestamp without time zone,
  run_at timestamp without time zone,
  dispatch_status character varying,
  workflow_run_id character varying
);
CREATE INDEX idx_workflow_schedules_org_enabled ON workflow_schedules USING btree (organization_id, enabled);
CREATE INDEX idx_workflow_schedules_org_workflow ON workflow_schedules USING btree (organization_id, workflow_permanent_id) WHERE (deleted_at IS NULL);
CREATE INDEX ix_workflow_schedules_workflow_permanent_id ON workflow_schedules USING btree (workflow_permanent_id);
CREATE UNIQUE INDEX workflow_schedules_pkey ON workflow_schedules USING btree (workflow_schedule_id);
CREATE TABLE workflows (
  workflow_id character varying NOT NULL,
  organization_id character varying,
  title character varying NOT NULL,
  description character varying,
  workflow_definition json NOT NULL,
  created_at timestamp without time zone NOT NULL,
  modified_at timestamp without time zone NOT NULL,
  deleted_at timestamp without time zone,
  workflow_permanent_id character varying NOT NULL,
  version integer NOT NULL,
  proxy_location character varying,
  webhook_callback_url character varying,
  is_saved_task boolean NOT NULL DEFAULT false,
  totp_verification_url character varying,
  persist_browser_session boolean NOT NULL,
  totp_identifier character varying,
  status character varying NOT NULL,
  model json,
  max_screenshot_scrolling_times integer,
  extra_http_headers json,
  cache_key character varying,
  generate_script boolean NOT NULL,
  ai_fallback boolean NOT NULL DEFAULT false,
  run_sequentially boolean,
  sequential_key character varying,
  run_with character varying,
  folder_id character varying,
  import_error character varying,
  adaptive_caching boolean NOT NULL DEFAULT false,
  generate_script_on_terminal boolean NOT NULL DEFAULT false,
  code_version integer DEFAULT 2,
  created_by character varying,
  edited_by character varying,
  browser_profile_id character varying,
  cdp_connect_headers json,
  max_elapsed_time_minutes integer,
  browser_profile_key character varying,
  enable_self_healing boolean NOT NULL DEFAULT false,
  pin_saved_session_ip boolean NOT NULL DEFAULT false,
  mask_secrets boolean NOT NULL DEFAULT false,
  reuse_browser_session boolean NOT NULL DEFAULT false,
  browser_type character varying
);
CREATE INDEX ix_workflows_workflow_permanent_id ON workflows USING btree (workflow_permanent_id);
CREATE INDEX organization_id_title_idx ON workflows USING btree (organization_id, title);
CREATE INDEX permanent_id_version_idx ON workflows USING btree (workflow_permanent_id, version);
CREATE UNIQUE INDEX uc_org_permanent_id_version ON workflows USING btree (organization_id, workflow_permanent_id, version);
CREATE INDEX workflow_folder_id_idx ON workflows USING btree (folder_id);
CREATE INDEX workflow_oid_status_idx ON workflows USING btree (organization_id, status);
CREATE UNIQUE INDEX workflows_pkey ON workflows USING btree (workflow_id);
