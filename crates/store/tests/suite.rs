//! One list of tests, run on SQLite and on a real PostgreSQL.

#[path = "suite/assets.rs"]
mod assets;
#[path = "suite/backfill.rs"]
mod backfill;
#[path = "suite/bench.rs"]
mod bench;
#[path = "suite/cleaning.rs"]
mod cleaning;
#[path = "suite/clear.rs"]
mod clear;
#[path = "suite/commit.rs"]
mod commit;
#[path = "suite/counters.rs"]
mod counters;
#[path = "suite/dag_files.rs"]
mod dag_files;
#[path = "suite/deleting.rs"]
mod deleting;
#[path = "suite/lead.rs"]
mod lead;
#[path = "suite/mark.rs"]
mod mark;
#[path = "suite/past.rs"]
mod past;
#[path = "suite/plans.rs"]
mod plans;
#[path = "suite/schema.rs"]
mod schema;
#[path = "suite/settings.rs"]
mod settings;
#[path = "suite/transactions.rs"]
mod transactions;
#[path = "suite/transfer.rs"]
mod transfer;
#[path = "suite/worker.rs"]
mod worker;

macro_rules! on_both {
    ($($module:ident: $($test:ident),+ $(,)?;)+) => {
        mod sqlite {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() -> anyhow::Result<()> {
                    crate::$module::$test(crate::bench::Bench::sqlite()?).await
                })+
            })+
        }
        mod postgres {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() -> anyhow::Result<()> {
                    crate::$module::$test(crate::bench::Bench::postgres()?).await
                })+
            })+
        }
    };
}

on_both! {
    counters:
        counts_of_all_processes_are_one,
        how_long_runs_take_and_tries_wait_is_counted,
        only_scheduled_runs_begin_late,
        of_a_mark_the_latest_stays;
    cleaning:
        old_runs_go_and_what_is_needed_stays,
        the_newest_run_and_the_newest_of_the_schedule_stay,
        one_process_a_day_gets_the_turn;
    deleting:
        a_run_that_has_ended_goes_with_all_that_belongs_to_it,
        the_newest_run_of_the_schedule_is_not_deleted,
        a_dag_whose_file_is_gone_goes_and_may_come_back;
    transfer:
        everything_goes_to_either_kind_of_database_and_back,
        a_full_database_and_a_changed_file_are_refused;
    schema:
        migrates_and_seeds_once,
        goes_down_and_up_with_data,
        two_at_once_both_succeed,
        a_second_one_does_not_wait_when_told_so,
        a_failed_check_changes_nothing,
        a_newer_schema_is_refused,
        pending_migrations_are_refused,
        states_are_those_of_the_model,
        reset_begins_anew;
    assets:
        an_event_goes_to_those_who_wait_and_is_used_up_by_their_run,
        catchup_replays_what_happened_before_the_dag_waited,
        a_run_uses_up_more_than_it_names,
        an_asset_keeps_its_number_whoever_names_it,
        events_are_chosen_by_what_they_are,
        a_person_may_say_that_an_asset_changed,
        an_alert_is_raised_once_and_seen_once,
        a_dag_that_is_paused_again_for_the_same_run_is_told_of_again,
        a_dag_is_paused_for_failures_that_stand,
        what_was_given_up_is_told_again_on_request;
    past:
        the_run_before_is_found_by_date_and_kind,
        a_choice_is_kept_with_a_success_only_and_forgotten_when_cleared;
    transactions:
        case_94_an_error_rolls_back,
        case_94_a_panic_rolls_back,
        case_94_a_dropped_caller_rolls_back,
        a_read_only_store_writes_nothing,
        what_a_face_asks_for_wakes_the_scheduler;
    commit:
        a_run_walks_from_created_to_success,
        a_run_is_unique_by_id_and_by_date,
        stale_items_are_left_out_and_the_others_stand,
        an_illegal_step_is_left_out,
        of_two_claims_one_wins,
        a_foreign_token_finishes_nothing,
        an_old_epoch_changes_nothing,
        a_retry_keeps_its_history,
        a_lost_worker_costs_no_try,
        a_try_that_is_put_off_goes_on_under_its_number_and_remembers_its_first_start,
        results_are_cleared_when_the_task_starts_again,
        a_task_that_does_not_run_again_hands_on_nothing_of_what_it_left_before,
        several_steps_of_one_row_are_taken_in_order,
        signals_are_deleted_with_the_batch_that_handled_them,
        pointers_are_read_back,
        passed_dates_are_kept_and_never_dealt_with_again,
        changes_are_told_after_the_commit,
        texts_with_nul_and_any_script_are_kept,
        a_large_batch_takes_few_statements;
    clear:
        case_63_a_middle_task_of_a_finished_run,
        a_running_task_restarts_even_if_its_try_succeeds,
        a_look_that_is_cleared_does_not_look_again,
        a_running_run_keeps_its_start,
        case_69_of_two_clears_one_wins,
        only_failed_and_dry_run,
        what_failed_is_cleared_with_its_setup_and_teardown,
        what_was_given_up_has_failed,
        a_failed_run_without_a_failed_task_is_taken_whole,
        relatives_past_and_future,
        failed_tasks_of_many_runs,
        the_state_of_the_run_can_be_left,
        a_running_task_can_be_spared,
        case_65_a_task_that_is_gone_from_the_dag,
        a_run_is_given_another_version,
        a_task_that_is_back_begins_anew,
        a_run_does_not_end_over_a_clear_it_has_not_seen,
        notes;
    mark:
        case_66_marking_success_lets_the_run_go_on,
        case_66_what_succeeded_behind_a_failure_stays,
        case_67_marking_a_run,
        what_an_earlier_try_left_is_no_result_of_a_task_that_is_skipped_or_failed_by_hand,
        case_67_the_teardown_of_a_marked_run_still_runs,
        skipping_what_runs_stops_it_with_its_relatives,
        a_try_holds_the_slots_that_it_began_with_until_it_has_stopped;
    backfill:
        case_38_existing_runs_by_reprocess,
        case_40_one_at_a_time_and_finished_by_its_last_run,
        case_42_cancelled,
        a_run_that_is_cleared_after_its_backfill_is_one_like_others,
        case_42_paused,
        some_tasks_only,
        cleared_runs_take_the_new_version,
        case_39_the_schedule_goes_on_where_it_was;
    dag_files:
        a_version_only_when_the_content_changed,
        a_broken_file_and_its_repair,
        a_file_that_breaks_or_loses_tasks_is_told_of_once,
        processes_that_read_the_same_change_at_once_store_it_once,
        a_deleted_file_makes_its_dag_stale,
        a_dag_under_another_ones_name_is_left_out,
        the_list_of_dags,
        pausing_is_audited_and_signalled;
    lead:
        one_leads_at_a_time,
        heartbeats_say_who_lives,
        heartbeats_and_batches_do_not_get_in_each_others_way,
        what_a_dead_owner_held_is_found,
        nothing_starts_in_the_place_of_a_run_that_does_not_end;
    worker:
        checkpoints_and_rendered_parameters,
        remote_statements_are_attached_to_again,
        the_ledger_is_kept,
        the_ledger_is_listed_by_what_is_asked;
    settings:
        connections_and_variables,
        pools,
        users_and_tokens,
        sessions_end_and_get_new_tokens,
        a_new_password_and_a_shut_door_end_everything,
        grants_are_one_for_each_dag_or_tag,
        the_audit_log,
        words_of_the_dead_are_taken_away;
    plans:
        hot_statements_use_indexes,
        the_newest_runs_of_a_dag_are_found_by_its_own_index;
}
