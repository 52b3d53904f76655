//! Each rule is there for a reason: without it, some life ends with a promise broken, and the checks see it.

use super::guest::Act;
use super::{Missing, Twist, live};
use crate::object::rules::Rule;

/// Lives in which it must be seen.
const LIVES_MAX: u64 = 4_000;

fn is_missed_in(twist: Twist) {
    let broken = (0..LIVES_MAX).find_map(|seed| live(seed, twist, false).err().map(|why| (seed, why)));
    match broken {
        Some((seed, why)) => println!("{twist:?}: life {seed}: {why}"),
        None => panic!("nobody misses it in {LIVES_MAX} lives: {twist:?}"),
    }
}

/// A test for each rule. Where it is seldom missed, guests do more of what it is there for.
macro_rules! are_missed {
    ($field:ident, $($test:ident: $rule:expr, $often:expr;)*) => {
        $(
            #[test]
            fn $test() {
                is_missed_in(Twist {
                    $field: Some($rule),
                    often: &$often,
                    ..Twist::default()
                });
            }
        )*
    };
}

#[test]
fn what_is_deleted_is_stored_until_the_end() {
    is_missed_in(Twist {
        without_rule: Some(Rule::DeletedIsStoredUntilTheEnd),
        often: &[Act::Erase, Act::Delete],
        slow_turns: true,
        ..Twist::default()
    });
}

are_missed! {
    without_rule,
    epochs_end_with_those_below: Rule::EpochsEndWithThoseBelow, [];
    predecessors_are_waited_for: Rule::PredecessorsAreWaitedFor, [];
    what_is_deleted_is_not_reached: Rule::DeletedIsNotReached, [Act::SetAlarm, Act::Delete];
    lost_deletes_are_undone: Rule::LostDeletesAreUndone, [];
    lost_restarts_are_undone: Rule::LostRestartsAreUndone, [];
    startups_follow_their_turn: Rule::StartupsFollowTheirTurn, [Act::Get, Act::Trap];
    copies_are_of_what_is_committed: Rule::CopiesAreOfWhatIsCommitted, [Act::Clone, Act::Delete];
    places_are_kept_for_commits: Rule::PlacesAreKeptForCommits, [Act::Abort, Act::DropStub];
    file_ids_are_new: Rule::FileIdsAreNew, [];
    file_ids_are_kept: Rule::FileIdsAreKept, [Act::Delete];
    entries_go_with_the_last: Rule::EntriesGoWithTheLast, [Act::Delete];
}

are_missed! {
    without,
    the_dead_send_nothing: Missing::TheDeadSendNothing, [];
    the_dead_decide_nothing: Missing::TheDeadDecideNothing, [];
    lost_turns_are_undone: Missing::LostTurnsAreUndone, [];
    units_are_queued_under_the_lock: Missing::QueuedUnderTheLock, [];
    files_follow_units: Missing::FilesFollowUnits, [Act::Delete];
    replies_wait: Missing::RepliesWait, [];
    deps_are_inherited: Missing::DepsAreInherited, [];
    files_go_before_the_next: Missing::FilesGoBeforeTheNext, [];
    copies_are_between_turns: Missing::CopiesAreBetweenTurns, [Act::Clone];
    sources_are_paused: Missing::SourcesArePaused, [Act::Clone];
    unwanted_copies_go: Missing::UnwantedCopiesGo, [Act::Clone, Act::Abort];
    what_is_named_by_nobody_goes: Missing::WhatIsNamedByNobodyGoes, [Act::Delete];
    objects_are_kept_until_they_are_settled: Missing::KeptUntilSettled, [];
    mail_is_answered: Missing::MailIsAnswered, [];
}
