//! Each rule is there for a reason: without it, some life of a directory ends with something lost, and the checker sees it.

use super::failures::{Twist, live};
use crate::storage::journal::rules::Rule;

/// Lives in which the loss must be seen.
const LIVES_MAX: u64 = 400;

/// The first life that breaks a promise, and what it says.
fn broken(twist: Twist) -> Option<(u64, String)> {
    let salt = 77_000;
    (0..LIVES_MAX).find_map(|seed| {
        // What it says when it panics is its business; that is an end as good as any.
        let lived = std::panic::catch_unwind(|| live(salt + seed, twist));
        match lived {
            Ok(Ok(_)) => None,
            Ok(Err(why)) => Some((seed, why)),
            Err(_) => Some((seed, "it panicked".to_owned())),
        }
    })
}

fn is_missed(rule: Rule) {
    is_missed_in(Twist {
        without: Some(rule),
        ..Twist::default()
    });
}

fn is_missed_in(twist: Twist) {
    let (seed, why) = broken(twist).unwrap_or_else(|| panic!("nobody misses it in {LIVES_MAX} lives: {twist:?}"));
    println!("{twist:?}: life {seed}: {why}");
}

#[test]
fn a_batch_is_synced() {
    is_missed(Rule::BatchIsSynced);
}

#[test]
fn a_unit_is_acknowledged_after_it_was_written() {
    is_missed(Rule::AckAfterWrite);
}

#[test]
fn a_failure_is_final() {
    is_missed_in(Twist {
        without: Some(Rule::FailureIsFinal),
        fails_writes: true,
        ..Twist::default()
    });
}

#[test]
fn only_durable_pages_reach_a_database() {
    is_missed(Rule::CheckpointAfterDurable);
}

#[test]
fn a_segment_is_released_behind_a_barrier() {
    is_missed(Rule::BarrierBeforeRelease);
}

#[test]
fn a_pin_holds_its_segment() {
    is_missed(Rule::PinsHoldSegments);
}

#[test]
fn files_show_a_unit_before_its_segment_goes() {
    is_missed(Rule::SettledBeforeRelease);
}

#[test]
fn all_frames_of_a_commit_are_shipped() {
    is_missed(Rule::AllFramesAreShipped);
}

#[test]
fn a_log_of_another_process_is_never_read() {
    is_missed(Rule::StrangeLogIsRemoved);
}

#[test]
fn the_first_commit_is_whole() {
    is_missed(Rule::FirstCommitIsWhole);
}

#[test]
fn pages_belong_to_one_generation() {
    is_missed(Rule::GenerationsAreApart);
}

#[test]
fn files_follow_units() {
    is_missed(Rule::FilesFollowUnits);
}

#[test]
fn a_copy_is_durable_before_its_unit() {
    is_missed(Rule::CopyIsSynced);
}

#[test]
fn a_segment_has_a_new_id_each_time() {
    is_missed_in(Twist {
        without: Some(Rule::SegmentHasNewId),
        writes_much: true,
        ..Twist::default()
    });
}

#[test]
fn a_segment_is_named_before_it_is_used() {
    is_missed(Rule::SegmentIsNamed);
}

#[test]
fn a_released_segment_has_lost_its_name() {
    is_missed_in(Twist {
        without: Some(Rule::ReleasedIsUnnamed),
        writes_much: true,
        ..Twist::default()
    });
}

#[test]
fn no_block_is_written_twice() {
    is_missed(Rule::BlockIsWrittenOnce);
}

#[test]
fn what_was_read_is_durable_before_it_is_acted_upon() {
    is_missed(Rule::ReadIsSynced);
}

#[test]
fn what_was_redone_is_durable_before_the_journal_goes() {
    is_missed(Rule::RedoIsSynced);
}

#[test]
fn a_tree_and_its_databases_are_one_unit() {
    is_missed_in(Twist {
        splits_units: true,
        ..Twist::default()
    });
}
