"""Which test follows the commands of a message, of docs/troubleshooting.md and of the README's "Removing a stack" to their end.

tests/unit/test_cures.py compares it with the messages in the code, so a new message with a command needs an entry. A value is
the test, as pytest names it below tests/; or, where there is none, why:

    "outside: ..."   the command changes what no test of this project has: Windows, an account, the machine that runs the tests
    "names: ..."     the text speaks of a command and does not send anyone to it
    "open: ..."      a test could, and none does yet
"""

from collections.abc import Mapping

_DOCTOR = "host/test_doctor.py::test_containers_that_do_not_do_well"
_BY_HAND = "host/test_doctor.py::test_what_was_removed_or_made_by_hand"
_STATUS = "host/test_doctor.py::test_status_of_a_running_stack_and_of_one_that_is_down"
_LOGS = "host/test_doctor.py::test_logs_are_merged_followed_and_without_secrets"
_FIRST_UP = "host/test_first_up.py::test_up_ends_with_a_green_smoke_run"
_PLAIN = "host/test_first_up.py::test_plain_pulumi_sees_no_change"
_KILLED = "host/test_faults.py::test_one_up_brings_back_what_was_killed_or_removed_by_hand"
_IMAGE = "host/test_faults.py::test_an_image_that_goes_while_it_runs_is_built_again"
_INTERRUPTED = "host/test_faults.py::test_an_up_that_is_interrupted_again_and_again"
_CUT_OFF = "host/test_faults.py::test_a_state_file_that_is_cut_off_is_refused_with_the_way_back"
_SMOKE = "host/test_deployment.py::test_destroy_keeps_data_and_a_new_up_finds_it"
_BESIDE = "host/test_deployment.py::test_a_second_stack_beside_it"
_NOTHING_LEFT = "host/test_deployment.py::test_unprotect_and_destroy_leave_nothing"
_SETS = "host/test_backup.py::test_a_set_is_listed_and_seen_by_status_and_doctor"
_RESTORE = "host/test_backup.py::test_what_is_lost_comes_back"
_UNDO = "host/test_backup.py::test_what_a_restore_replaced_goes_back"
_CUT_OFF_RESTORE = "host/test_backup.py::test_a_restore_that_is_killed_leaves_what_was_or_the_whole_set"
_RESUME = "host/test_backup.py::test_schedules_wait_for_a_person"
_DRILL = "host/test_backup.py::test_a_drill_serves_the_set_and_reaches_nothing"
_ELSEWHERE = "host/test_external_postgres.py::test_the_data_comes_along"
_RUNBOOKS = "host/test_runbooks.py::test_the_runbooks_one_after_the_other"
_REHEARSAL = "host/test_takeover.py::test_a_rehearsal_leaves_nothing"
_SWARM = "host/test_cluster.py::test_a_swarm_from_nothing_to_nothing"
_TAKEN_AWAY = "host/test_swarm.py::test_what_a_person_took_away_is_named_and_made_again"
_ON_SWARM = "host/test_swarm.py::test_an_update_that_fails_says_why_in_one_line"
_SWITCH = "host/test_takeover.py::test_everything_is_there_after_the_switch_and_back_again"
_GOOD = "host/test_upgrade.py::test_a_good_version_comes_and_its_predecessor_comes_back_with_its_data"
_ON = "host/test_upgrade.py::test_killed_during_the_upgrade_the_next_up_goes_on"
_ROTATION = "host/test_rotation.py::test_a_rotation_that_is_killed_is_finished_by_the_next_up"
_REVIEW = "host/test_pull_requests.py::test_a_pull_request_gets_a_comment_and_leaves_a_record"
_APPLY = "host/test_pull_requests.py::test_what_was_reviewed_is_applied_once"
_ROLLBACK = "host/test_pull_requests.py::test_from_a_bad_deployment_there_is_a_way_back"
_WALLS = "host/test_isolation.py::test_without_both_walls_smoke_and_doctor_name_what_is_open_and_one_up_closes_it"
_NETWORKS = "engine/test_networks.py::test_other_subnets_replace_networks_and_containers_and_keep_the_data"
_MAJOR = "host/test_database_major.py::test_the_new_major_comes_with_the_data_and_the_old_one_comes_back"
_MAJOR_ON = "host/test_database_major.py::test_killed_during_the_switch_the_next_up_ends_it"
_DELETED = "engine/test_automations.py::test_a_workflow_that_was_deleted_in_the_ui_comes_back_with_its_schedule"
_SECRET = "engine/test_cures.py::test_a_secret_that_a_message_asks_for_is_read_from_the_stack_file"
_PACKAGES = "host/test_machine_faults.py::test_the_packages_of_a_message_bring_its_program"
_TABLES = (
    "host/test_machine_faults.py::test_a_daemon_without_a_table_of_the_kernel_starts_after_the_cure "
    "host/test_machine_faults.py::test_a_container_without_the_table_raw_starts_after_the_cure"
)
_LIMIT = "host/test_machine_faults.py::test_the_limit_of_a_registry_is_over_with_a_login"
_REMAPPED = "host/test_machine_faults.py::test_a_daemon_that_remaps_users_is_refused_and_used_after_the_cure"
_ROOTLESS = "host/test_machine_faults.py::test_a_rootless_daemon_is_used_after_the_cure"
_APT = "host/test_machine_faults.py::test_apt_is_waited_for_while_a_fresh_server_updates_itself"
_GROUP = "host/test_cures.py::test_a_user_gets_rights_on_docker"
_RULES = "host/test_cures.py::test_a_restart_of_docker_brings_its_own_rules_back"
_ANOTHER_STATE = "host/test_cures.py::test_what_another_state_left_is_removed_by_the_commands_of_the_line"
_OWNER = "unit/ops/test_ownership.py::test_folders_that_root_made_are_one_line_whose_cure_works"
_WINDOWS = "outside: a command for Windows or Docker Desktop"
_SYSTEMD = "outside: no systemd in these tests"
_WITHOUT_COMMIT = "unit/ops/deploy/test_upgrade.py::test_without_a_commit_the_data_goes_back_and_the_next_step_is_named"
_NO_REGISTRY = "outside: asks a registry of images"

# Module or script -> a text that names a command, or a part of it that no other one has -> the test.
MESSAGES: Mapping[str, Mapping[str, str]] = {
    "script/env": {
        "this takes no argument": "unit/test_scripts.py::test_script_env_refuses_words",
    },
    "script/environment": {
        "this checkout is not prepared; run script/bootstrap": "unit/ops/test_bootstrap.py::"
        "test_a_command_runs_only_with_the_packages_of_this_commit",
        "HOME: is not set": "unit/ops/test_shell.py::test_a_home_that_is_no_folder_is_one_line_whose_cure_works",
        "apt-get %s failed": "names: the command that failed",
    },
    "script/bootstrap": {
        "sudo apt-get install -y $packages": _PACKAGES,
        "sudo chown -R": "unit/ops/test_ownership.py::test_an_environment_that_root_made_is_one_line_whose_cure_works",
    },
    "script/check-shell": {"are left out": "outside: the packages of the tests themselves"},
    "script/check-workflows": {"is left out": "engine/test_actionlint.py::test_a_planted_mistake_fails_the_check"},
    "script/test": {
        "these packages are missing": "outside: the packages of the tests themselves",
        "run script/test unit without it": "names: another lane of the tests",
        "are left out": "outside: the packages of the tests themselves",
        "openssh-server is missing": "outside: the packages of the tests themselves",
    },
    "components/frontend/vercel.py": {
        "another account on Vercel": "engine/test_vercel.py::test_from_a_repository_and_at_a_domain_that_another_account_holds"
    },
    "components/settings/errors.py": {
        "pulumi config set --secret": _SECRET,
        "run script/rehearse": "host/test_rehearsal.py::test_everything_is_green",
    },
    "components/settings/reference.py": {"bin/ops configuration": "names: what made the page"},
    "components/settings/skyvern_settings.py": {"bin/ops configu": "names: what made the page"},
    "ops/automations/run.py": {"the workflow is gone": _DELETED},
    "ops/automations/server.py": {
        "see ops automations list": "unit/ops/automations/test_commands.py::"
        "test_every_schedule_is_listed_also_one_that_no_file_can_have"
    },
    "ops/backups/container.py": {"does not run; write backup": _SETS},
    "ops/backups/copies.py": {
        "its state has no secret": _RUNBOOKS,
        "choose another set from ops backup list": _SETS,
    },
    "ops/backups/kit.py": {
        "has no key of a repository yet": _RUNBOOKS,
        "sudo apt-get install -y gnupg": _PACKAGES,
        "is not a whole kit": _RUNBOOKS,
        "cannot be read; give the file": _RUNBOOKS,
    },
    "ops/backups/external.py": {
        "pg_dump -Fc -Z0 --username": "names: a script that is run",
        "SET client_min_messages": "names: a script that is run",
    },
    "ops/backups/migrations.py": {"build it again with script/up": _IMAGE},
    "ops/backups/preflight.py": {
        "set -eu": "names: a program",
        "restore that stack with ops restore --kit": _RUNBOOKS,
        "sudo install -d": "unit/ops/backups/test_container.py::test_the_cure_gives_the_folder_to_the_user_of_the_backup",
    },
    "ops/backups/upstream.py": {
        "was taken over from docker compose": "names: where a run comes from",
        "has no organization_id in its outputs": _SWITCH,
    },
    "ops/bootstrap.py": {"plain pulumi works after": _PLAIN},
    "ops/clients/compose.py": {
        "is not a project of docker compose": "outside: Debian 12 has no plugin of Docker Compose",
        "is of several projects of docker compose": "names: whose projects they are",
    },
    "ops/clients/docker.py": {
        "bin/ops doctor says what to do": "host/test_cures.py::test_a_command_without_a_daemon_leads_to_one"
    },
    "ops/clients/git.py": {
        "git config --global --add safe.directory": "unit/ops/test_ownership.py::"
        "test_the_checkout_of_another_user_is_one_line_whose_cure_works"
    },
    "ops/clients/github.py": {"`ops apply` will refuse it": "names: what comes of it"},
    "ops/clients/pip.py": {"export …": "names: a line for the shell that reads it"},
    "ops/clients/process.py": {"not found on PATH; run script/bootstrap": _BESIDE},
    "ops/clients/terminal.py": {
        "HOME: is not set": "unit/ops/test_shell.py::test_a_home_that_is_no_folder_is_one_line_whose_cure_works"
    },
    "ops/clients/swarm.py": {
        "service ps": _TAKEN_AWAY,
        "script/up makes it": _TAKEN_AWAY,
    },
    "ops/deploy/cluster.py": {
        "bin/ops cluster join … -s … lets": _SWARM,
        "manages a Swarm; run bin/ops cluster init": _SWARM,
        "no manager of a Swarm answers": _SWARM,
        "see bin/ops cluster status": _SWARM,
        "see docker --host … node ps": "host/test_cluster.py::test_a_service_that_stays_keeps_its_machine",
        "into host.nodes of …": "names: the command that looks at it",
    },
    "ops/deploy/database_upgrade.py": {
        "to go back to it: bin/…": _MAJOR,
        "was interrupted; run bin/ops restore -s … first": _CUT_OFF_RESTORE,
        "was interrupted; run script/up --stack … in a checkout of that version": _ON,
        "so a switch that fails could not go back": "unit/ops/deploy/test_database_upgrade.py::"
        "test_without_a_commit_to_go_back_to_an_up_of_the_version_before_makes_one",
        "was interrupted; run script/up --stack … first, which ends it": _MAJOR_ON,
        "has no data of PostgreSQL yet": _FIRST_UP,
        "does not run, and its own server makes the copy": "unit/ops/deploy/test_database_upgrade.py::"
        "test_without_its_own_postgresql_an_up_of_the_version_before_starts_it",
    },
    "ops/deploy/other_commit.py": {
        "run git fetch --unshallow": "unit/ops/deploy/test_rollback.py::"
        "test_a_commit_that_a_shallow_clone_lacks_is_one_line_whose_command_brings_it",
        "script/up of …, which runs": "names: what is in progress",
        "which goes on with that": _ON,
    },
    "ops/deploy/danger.py": {
        "does not say which PostgreSQL is in it": _IMAGE,
        "run bin/ops upgrade-database": _MAJOR,
        "bin/ops backup now -s …; bin/ops restore": _ELSEWHERE,
        "give up the data by pulumi up": "engine/test_cures.py::test_plain_pulumi_goes_on_where_data_is_not_protected",
    },
    "ops/deploy/guard.py": {
        "is not a git checkout": "names: what a folder is not",
        "git fetch origin main": "unit/ops/deploy/test_guard.py::test_with_a_remote_its_main_counts",
    },
    "ops/deploy/init.py": {
        "made by ops init": "names: what made the file",
        "is written; … script/up": _FIRST_UP,
        "script/up says what to do": "unit/ops/machine/test_daemon.py::test_a_machine_that_cannot_get_docker_gets_one_line",
        "bin/ops alerts kakao": "outside: an account of KakaoTalk",
    },
    "ops/deploy/machines.py": {
        "run bin/ops cluster init": _SWARM,
        "sudo install -d": f"{_ON_SWARM} unit/ops/deploy/test_machines.py::test_a_share_that_refuses_has_a_cure_that_works",
        "has lost it, run bin/ops restore": "unit/ops/deploy/test_machines.py::"
        "test_a_share_that_has_lost_the_folder_gets_it_back_by_a_restore",
    },
    "ops/deploy/kakao.py": {"next: script/up": "outside: an account of KakaoTalk"},
    "ops/deploy/recovery.py": {
        "which another state made": _ANOTHER_STATE,
        "may exist at Cloudflare": "engine/test_edge.py::"
        "test_a_creation_whose_answer_was_lost_is_told_and_the_next_up_finishes_it",
    },
    "ops/deploy/releases.py": {
        "to roll back to …": _ROLLBACK,
        "look at what changed around it": f"{_DOCTOR} host/test_pull_requests.py::test_what_somebody_changed_is_one_issue",
    },
    "ops/deploy/put_back.py": {
        "puts it back and starts it": _CUT_OFF_RESTORE,
        "script/up --stack … starts it": _KILLED,
    },
    "ops/deploy/repair.py": {
        "the volume and the data in it are gone": f"engine/test_cures.py::test_a_volume_that_is_gone_begins_empty {_RUNBOOKS}",
        "bin/ops doctor -s … says what to do": _DOCTOR,
    },
    "ops/deploy/restore.py": {
        "pulumi up --refresh -s … applies their files again": "host/test_backup.py::test_an_automation_survives_a_restore",
        "does not start on that; bring back a set": _RESTORE,
        "has been removed; bring back a set": _RESTORE,
        "to go back: bin/ops restore --undo": _UNDO,
        "bin/ops resume": _RESUME,
        "is not on …; run bin/ops images build": _IMAGE,
        "bin/ops backup now keeps them": f"host/test_backup.py::test_newer_data_is_not_replaced_unasked {_RESTORE}",
        "containers are missing": _ELSEWHERE,
        "names (database.url); bring back a set": _RESTORE,
        "has no roles container": _KILLED,
        "start it (script/up": _KILLED,
        "what is lost as well": "host/test_swarm.py::test_a_set_takes_the_place_of_the_data_and_goes_back",
        "its database does not answer (…); run script/up": _KILLED,
        "bin/ops restore --undo -s … puts it back": _UNDO,
    },
    "ops/deploy/rollback.py": {"script/up of … ended with": "names: what has failed"},
    "ops/deploy/rotate.py": {
        "finishes the rotation": _ROTATION,
        "has no database password yet": _FIRST_UP,
        "bin/ops smoke -s … tries again": _SMOKE,
        "…: …; see ops smoke": _SMOKE,
        "PostgreSQL: does not answer": _SMOKE,
    },
    "ops/deploy/sessions.py": {"see bin/ops logs": _LOGS},
    "ops/deploy/single.py": {"see ops logs postgres": _LOGS},
    "ops/deploy/takeover.py": {
        "bin/ops import compose …": _SWITCH,
        "docker --host …": _SWITCH,
        "… start …": _SWITCH,
        "programs need the new key": _SWITCH,
        "has no server on": _FIRST_UP,
        "workflows come here as files": "host/test_automations.py::test_an_edit_in_the_ui_is_seen_and_can_be_pulled",
        "take over into a fresh stack": _SWITCH,
        "run docker start …, or look after --rehearse": _REHEARSAL,
        "bin/ops restore --undo --yes": _SWITCH,
        "paused until bin/ops resume": _RESUME,
    },
    "ops/deploy/up.py": {
        "pulumi stack output {}": _FIRST_UP,
        "Skyvern runs: stack": f"{_FIRST_UP} {_PLAIN}",
        "pulumi up -s …": _PLAIN,
    },
    "ops/deploy/update.py": {
        "shows, then script/up": _ON_SWARM,
        "then run script/up": _INTERRUPTED,
        "and run script/up": _INTERRUPTED,
        "bin/ops status -s … too": _STATUS,
    },
    "ops/deploy/upgrade.py": {
        "check out the version that it ran, and run script/up": "unit/ops/deploy/test_upgrade.py::"
        "test_after_a_downgrade_that_is_refused_the_version_that_it_ran_goes_on",
        "bin/ops rollback --with-data -s … goes back": _GOOD,
        "to go back to … and the data of …": _GOOD,
        "tries the upgrade again": _ON,
        "which a way back needs, is gone": "unit/ops/deploy/test_upgrade.py::test_without_what_was_kept_the_new_version_stays",
        "without a server an upgrade cannot be tried first": "unit/ops/deploy/test_upgrade.py::"
        "test_without_a_server_the_version_that_it_ran_brings_one_and_then_it_is_tried",
        "this checkout has another Skyvern than the stack": _ON,
        "no commit is recorded that runs Skyvern … on this database": _WITHOUT_COMMIT,
        "check out the version of this project that ran Skyvern": _WITHOUT_COMMIT,
        "bin/ops restore brings back a set": _RESTORE,
        "so the data of before is not in its place; correct what bin/ops doctor": _DOCTOR,
        "which goes on with going back": _ON,
        "it does not answer (…); bin/ops doctor": _DOCTOR,
    },
    "ops/images/advisories.py": {
        "apt-get did not list": "names: what has failed",
        "build it first (bin/ops images build)": _IMAGE,
    },
    "ops/images/commands.py": {
        "write today's date into images/refreshed.txt": "unit/ops/images/test_images.py::"
        "test_a_change_renames_what_is_built_from_it",
        "bin/ops images digest": _NO_REGISTRY,
        "docker buildx imagetools": _NO_REGISTRY,
    },
    "ops/machine/daemon_config.py": {"systemctl is-active docker.service": "names: what is run"},
    "ops/machine/daemon.py": {
        "journalctl -u docker": _SYSTEMD,
        "try `ssh …": "outside: what the other machine answers",
        "sudo rmdir /var/run/docker.sock": "host/test_cures.py::test_a_folder_in_place_of_the_socket_is_removed",
        "this user may not use": _GROUP,
        "Docker Desktop": _WINDOWS,
        "log in again, or run script/up as root": _GROUP,
        "sudo systemctl start docker": _SYSTEMD,
        "sudo apt-get install docker.io": _PACKAGES,
    },
    "ops/machine/docker_faults.py": {
        "sudo modprobe -a": _TABLES,
        "sudo update-alternatives": "host/test_machine_faults.py::"
        "test_a_daemon_without_a_table_of_the_kernel_starts_after_the_cure",
        "run docker login": _LIMIT,
        "sudo apt-get install -y iptables": _PACKAGES,
        "sudo snap disable docker": "outside: snapd",
        "then run: sudo systemctl restart docker": _REMAPPED,
    },
    "ops/machine/engine.py": {
        "or run script/bootstrap --engine modules": "unit/ops/machine/test_engine.py::"
        "test_an_official_cli_that_is_not_available_is_one_line",
        "or script/bootstrap --engine modules": "unit/ops/machine/test_engine.py::"
        "test_an_official_cli_that_is_not_available_is_one_line",
        "sudo apt-get install curl": _PACKAGES,
    },
    "ops/machine/engine_from_modules.py": {
        "run script/bootstrap": "unit/ops/machine/test_engine_from_modules.py::"
        "test_the_language_host_follows_a_python_that_is_gone"
    },
    "ops/machine/environment.py": {
        "export …": "names: a line for the shell that reads it",
        "does not exist; run script/bootstrap": _BESIDE,
        "this checkout is not prepared": _BESIDE,
    },
    "ops/machine/system.py": {"another program holds its locks": _APT},
    "ops/observe/alerts.py": {
        "does not run; run script/up": "host/test_monitor.py::test_the_smoke_run_is_counted_behind_the_login",
    },
    "ops/observe/doctor/cluster_checks.py": {
        "bin/ops cluster drain … --undo": _SWARM,
        "bin/ops cluster init -s …": _SWARM,
        "bin/ops cluster … -s …": _SWARM,
        "swarm leave --force; then bin/ops cluster join": _SWARM,
        "swarm unlock": "host/test_cluster.py::test_a_locked_swarm_is_opened_by_the_command_of_its_line",
        "install the newest on all": "outside: another version of Docker on machines",
        "between the machines; then docker --host": "host/test_cluster.py::"
        "test_a_machine_that_does_not_reach_the_managers_joins_again",
        "start Docker there, or bin/ops cluster leave": _SWARM,
        "bin/ops cluster leave … -s …; then ": "outside: a machine with another processor",
        "sudo …": "host/test_cluster.py::test_a_clock_apart_is_named_and_set_right",
    },
    "ops/observe/doctor/edge_checks.py": {
        "--path edge.api_token": _SECRET,
        "bin/ops smoke -s … shows what differs": _SMOKE,
    },
    "ops/observe/doctor/machine_checks.py": {
        "docker system prune": "host/test_cures.py::test_space_is_made_without_the_volumes",
        "sudo …": "outside: the clock of the machine",
        "sudo usermod -aG docker": _GROUP,
        "wsl --set-version": _WINDOWS,
        "raise memory=": _WINDOWS,
        "systemd=true": _WINDOWS,
        "script/bootstrap --stack": _BESIDE,
        "docker version": "names: what shows the daemon's version",
    },
    "ops/observe/doctor/pulumi_checks.py": {
        "script/up --stack": _FIRST_UP,
        "chmod 0600": _DOCTOR,
        "bin/ops preview": "host/test_pull_requests.py::test_a_pull_request_gets_a_comment_and_leaves_a_record",
        "pulumi refresh": "engine/test_cures.py::test_operations_that_an_up_left_pending_are_cleared",
    },
    "ops/observe/doctor/remedies.py": {
        "pulumi up --refresh": _BY_HAND,
        "write … into …, then pulumi up": _NETWORKS,
        "docker --host …": _DOCTOR,
        "… restart …": _DOCTOR,
    },
    "ops/observe/doctor/stack_checks.py": {
        "bin/ops cluster status": _SWARM,
        "shows more; correct that, then script/up": _ON_SWARM,
        "brings the images to every machine": _ON_SWARM,
        "starts it": _ON_SWARM,
        "brings it there": _ON_SWARM,
        "or correct its certificate": "host/test_external_postgres.py::test_from_nothing_to_a_restore_and_back",
        "bin/ops backup now -s …": _SETS,
        "shows what it waits for": _SETS,
        "sudo sysctl --system": "outside: the kernel settings of the machine",
        "bin/ops smoke": _SMOKE,
        "wsl --shutdown": _WINDOWS,
        "bin/ops backup kit": _RUNBOOKS,
        "bin/ops images build -s …, then pulumi up": _ON,
        "sudo systemctl restart docker": _RULES,
        "bin/ops restore -s …, then script/up": _RUNBOOKS,
        "are restored by name": "unit/images/test_backup.py::test_a_set_from_the_future_is_not_the_newest_and_can_be_named",
        "start it by hand": "host/test_automations.py::test_it_is_run_and_followed",
        "correct llm in": "host/test_doctor.py::test_a_stack_file_that_does_not_fit_the_host",
        "correct the port of browser.url": "host/test_browsers.py::test_smoke_is_green_with_a_chrome_elsewhere",
        "bin/ops drill": _DRILL,
        "bin/ops images build -s …": _IMAGE,
        "bin/ops logs -s … …": _LOGS,
        "script/up --stack …": _WALLS,
        "shows why; correct that": _DOCTOR,
        "… rm --force …": _DOCTOR,
        "… rm --force …, then …": _BY_HAND,
        "… start …": _DOCTOR,
        "… unpause …": _DOCTOR,
    },
    "ops/observe/automation.py": {
        "as an earlier version did; run script/up": (
            "host/test_monitor.py::test_one_of_an_earlier_version_counts_days_again_after_an_update"
        )
    },
    "ops/observe/fleet.py": {
        "does not run; run script/up --stack": _KILLED,
        "bin/ops doctor -s … shows all": _DOCTOR,
        "script/up --stack NAME makes one": _FIRST_UP,
    },
    "ops/observe/internet.py": {
        "net.ipv4.ip_forward": "host/test_cures.py::test_what_containers_send_is_forwarded_again",
        "smaller host.mtu": _NETWORKS,
        "docker restart": "host/test_faults.py::test_without_the_egress_proxy_the_browser_reaches_nothing",
    },
    "ops/observe/logs.py": {
        "so there are no logs": _FIRST_UP,
        "docker logs …": "names: the command that failed",
    },
    "ops/observe/smoke/internet_checks.py": {"update it with script/up": _GOOD},
    "ops/observe/smoke/site.py": {
        "… logs --since": _LOGS,
        "service logs --since": _TAKEN_AWAY,
        "update it with script/up": _GOOD,
    },
    "ops/observe/status.py": {
        "bin/ops doctor": _DOCTOR,
        "is down": _FIRST_UP,
    },
    "ops/ownership.py": {
        "sudo chown -R": _OWNER,
        "export HOME": "unit/ops/test_ownership.py::test_a_home_that_was_kept_is_named_as_such",
        "sudo chmod a+x": "unit/ops/test_ownership.py::test_what_is_above_ours_is_not_given_away",
        "sudo install -d": "unit/ops/test_ownership.py::test_a_folder_that_cannot_be_made_is_made_by_the_cure",
    },
    "ops/preview/__init__.py": {"make it with bin/ops preview": _REVIEW},
    "ops/preview/model.py": {"make it with bin/ops preview": _REVIEW},
    "ops/preview/report/diff.py": {
        "bin/ops preview --limit 0": "unit/ops/preview/test_preview_reports.py::test_without_a_limit_everything_is_shown"
    },
    "ops/preview/report/sections.py": {
        "bin/ops apply --review": _APPLY,
        "pulumi state unprotect": _NOTHING_LEFT,
        "pulumi up --refresh": _BY_HAND,
    },
    "ops/review/apply.py": {"Preview and review it again": _REVIEW},
    "ops/review/drift.py": {
        "Checked by": "names: what made the report",
        "To undo it": _BY_HAND,
        "removes such containers": _INTERRUPTED,
    },
    "ops/review/pull_request.py": {
        "ended before `ops apply`": "names: where the job ended",
        "read the preview of script/up": _FIRST_UP,
    },
    "ops/review/record.py": {"cannot be read": _REVIEW, "is not a review record": _REVIEW},
    "ops/review/skyvern_update.py": {
        "script/up names its migrations": _GOOD,
        "git checkout -- .": "unit/ops/review/test_skyvern_update.py::test_what_does_not_fit_ends_with_the_next_step",
    },
    "ops/stack/checkpoint.py": {"puts the newest whole copy back": _CUT_OFF, "then run script/up again": _CUT_OFF},
    "ops/stack/impact.py": {"they have the new key": _FIRST_UP, "with the new password": _FIRST_UP},
    "ops/stack/locks.py": {"run pulumi cancel": "engine/test_cures.py::test_a_lock_of_a_pulumi_that_is_gone_is_taken_away"},
    "ops/stack/outputs.py": {"printed no JSON": _FIRST_UP, "missing or malformed": _FIRST_UP},
    "ops/stack/passphrase.py": {
        "remove that line (sed": "engine/test_backend.py::test_a_salt_of_another_passphrase_and_its_cure",
        "set each of them again": _SECRET,
    },
    "ops/stack/stack.py": {
        "bin/ops cluster status": _SWARM,
        "git checkout HEAD": "unit/ops/stack/test_stack.py::test_a_stack_file_that_pulumi_removed_is_brought_back_by_git",
        "export PULUMI_BACKEND_URL": "engine/test_backend.py::test_a_backend_with_the_stack_of_another_project",
    },
    "policy/rules/cloudflare/provider.py": {"pulumi config set --secret": _SECRET},
    "policy/rules/docker/environment.py": {"docker inspect": "names: who sees it"},
    "policy/rules/docker/exposure.py": {"docker exec": "names: what a person uses instead of a port"},
    "policy/rules/docker/images.py": {"docker buildx imagetools": _NO_REGISTRY},
    "policy/rules/framework/coverage.py": {
        "docker inspect": "names: a row of the table",
        "No privileged docker exec": "names: a row of the table",
        "No docker exec as root": "names: a row of the table",
        "ops images digest": "names: a row of the table",
    },
    "policy/rules/skyvern.py": {"pulumi config set --secret": _SECRET},
    "policy/rules/stack.py": {
        "as ops drill --record does": "names: who else writes it",
        "Run ops drill --record": "unit/ops/backups/test_drill.py::test_the_day_of_a_drill_is_written_into_the_stack_file "
        f"{_DRILL}",
        "--path monitor.channels": _SECRET,
        "--path monitor.heartbeat": _SECRET,
    },
    "policy/rules/vercel.py": {"pulumi config set --secret": _SECRET},
    "skyvern_provider/api.py": {"forward its port": "outside: a port of another machine"},
    "skyvern_provider/kinds.py": {
        "workflow …: is gone": _DELETED,
        "schedule …: its workflow is gone": _DELETED,
        "credential …: is gone": _DELETED,
    },
}

# Part of what a person sees, as the first column has it -> the test of what to do.
TROUBLESHOOTING: Mapping[str, str] = {
    "Unable to find or pull image localhost/skyvern": _IMAGE,
    "no image registry answers": "host/test_docker_versions.py::test_a_stack_is_the_same_with_every_docker",
    "a socks:// proxy": "unit/ops/clients/test_proxies.py::test_one_that_cannot_be_used_is_one_line "
    "unit/ops/test_bootstrap.py::test_a_proxy_that_pip_cannot_use_is_one_line",
    "host.proxy: cloudflared": "unit/components/settings/test_settings.py::test_cloudflared_and_a_proxy_are_decided_on",
    "Pulumi CLI version": _PLAIN,
    "the vercel plugin": "outside: GitHub's limit for addresses",
    "container failed to be in healthy state": _LOGS,
    "sandbox: FAILED": "outside: the kernel settings of the machine",
    "refuse code: FAILED": _FIRST_UP,
    'run with code"': "host/test_code.py::test_a_code_block_does_not_run",
    "Cloud api_base": "host/test_ollama.py::test_a_real_model_answers_over_skyverns_network",
    "every run with `cdp-connect`": "host/test_browsers.py::test_doctor_finds_a_chrome_that_is_gone "
    "host/test_browsers.py::test_two_runs_take_turns",
    "a run stays `queued`": "unit/images/test_run_gate.py::test_a_run_that_is_cancelled_while_it_waits_holds_nobody_up "
    "host/test_runs.py::test_many_runs_from_everywhere_all_end_in_their_order_within_the_memory",
    "The server is about to restart": "host/test_runs.py::test_a_stop_lets_runs_end_and_tells_who_asks_for_new_ones",
    "browser sessions are open": "unit/images/test_run_gate.py::test_sessions_have_a_bound_and_closed_ones_free_a_place",
    "a run failed with `Interrupted:`": "host/test_runs.py::test_after_a_kill_what_ran_has_a_reason_and_what_waited_is_done",
    "A page of this run crashed": "host/test_runs.py::test_a_page_that_takes_all_memory_ends_its_own_run_alone",
    "port is already allocated": _BESIDE,
    "range of CPUs": "host/test_doctor.py::test_a_stack_file_that_does_not_fit_the_host",
    "`incorrect passphrase`": f"{_PLAIN} engine/test_backend.py::test_a_salt_of_another_passphrase_and_its_cure",
    "encryptionsalt: is of another": "engine/test_backend.py::test_a_salt_of_another_passphrase_and_its_cure",
    "another project's": "engine/test_backend.py::test_a_backend_with_the_stack_of_another_project",
    "which another state made": _ANOTHER_STATE,
    "belongs to root": _OWNER,
    "git refuses this checkout": "unit/ops/test_ownership.py::test_the_checkout_of_another_user_is_one_line_whose_cure_works",
    "another program is using apt": _APT,
    "docker-credential-…": "unit/ops/machine/test_docker_faults.py::"
    "test_a_program_for_logins_that_is_gone_is_one_line_that_names_the_file",
    "limit of pulls": _LIMIT,
    "is of the snap package": "outside: snapd",
    "this user's rootless one": _ROOTLESS,
    "gives containers other users than the host's": _REMAPPED,
    "MiB are free on its disk": "unit/ops/test_full_disk.py::test_a_full_disk_is_said_before_anything_is_made "
    "host/test_cures.py::test_space_is_made_without_the_volumes",
    "is Podman, on which this stack does not run": "outside: Docker Engine in place of Podman",
    "is not a socket": "host/test_cures.py::test_a_folder_in_place_of_the_socket_is_removed",
    "this kernel lacks a table": _TABLES,
    "this kernel has no nf_tables": "host/test_machine_faults.py::"
    "test_a_daemon_without_a_table_of_the_kernel_starts_after_the_cure",
    "not used from this shell": "host/test_first_up.py::test_a_hostile_shell_leads_to_the_same_daemon",
    "429 from the gateway": "engine/test_gateway_attacks.py::test_unknown_keys_are_limited_and_known_ones_are_not "
    "engine/test_gateway_attacks.py::test_wrong_logins_are_limited",
    "413 from the gateway": "engine/test_gateway_attacks.py::test_a_body_has_a_limit",
    "Failed to send human interaction email": "host/test_approvals.py::"
    "test_a_recipient_whose_domain_takes_no_mail_ends_the_run_with_a_reason",
    "`approval mail: FAILED`": _FIRST_UP,
    "421 from the gateway": _FIRST_UP,
    "421, `Skyvern's UI works": "engine/test_gateway_sites.py::test_a_forwarded_port_is_told_which_one_works",
    "browsers do not reach the internet": "host/test_cures.py::test_what_containers_send_is_forwarded_again "
    "host/test_internet.py::test_an_offline_stack_says_so",
    "host.networks: …": f"host/test_internet.py::test_addresses_that_somebody_else_has {_NETWORKS}",
    "pages hang": _NETWORKS,
    "in Windows, … listens": _WINDOWS,
    "cannot be deleted because it is protected": _NOTHING_LEFT,
    "the stack is currently locked": _ROTATION,
    "AI steps fail until it is there": "host/test_ollama.py::test_the_model_outlives_its_containers",
    "no NVIDIA runtime": "outside: a GPU of NVIDIA",
    "`GPU … does not use it`": "outside: a GPU of NVIDIA",
    "a code of Cloudflare": "engine/test_edge.py::test_what_the_api_refuses_names_the_resource_and_the_reason",
    "this Docker host cannot have the stack's firewall": "engine/test_cures.py::"
    "test_a_stack_goes_on_without_the_firewall_that_its_host_cannot_have",
    "No route to host": "host/test_isolation.py::test_what_the_stack_file_names_is_open_and_nothing_beside_it",
    "blocked by SSRF": "host/test_egress.py::test_an_exception_is_one_host_and_one_port_whatever_else_leads_there",
    "no wall …": _WALLS,
    "Docker's own rules are gone": _RULES,
}

# The commands of the README's "Removing a stack", in their order.
REMOVING: Mapping[str, str] = {
    "pulumi destroy --exclude-protected -s dev": _SMOKE,
    "pulumi state unprotect --all -s dev": _NOTHING_LEFT,
    "pulumi destroy -s dev": _NOTHING_LEFT,
    "pulumi stack rm dev --preserve-config": "engine/test_backend.py::test_the_last_command_about_a_stack_keeps_its_file",
    "docker image ls 'localhost/skyvern/*'": _NOTHING_LEFT,
}
