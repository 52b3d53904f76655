//! Each rule is there for a reason: without it, some life ends with a promise broken, and the checks see it.

use super::guest::Act;
use super::{Missing, Twist, live};
use crate::object::rules::Rule;

/// Lives in which it must be seen.
const LIVES_MAX: u64 = 10_000;

/// `from`: where a rule is seldom missed, it begins with a life in which it was.
fn is_missed_in(twist: Twist, from: u64) {
    let broken = (from..from + LIVES_MAX).find_map(|seed| live(seed, twist, false).err().map(|why| (seed, why)));
    match broken {
        Some((seed, why)) => println!("{twist:?}: life {seed}: {why}"),
        None => panic!("nobody misses it in {LIVES_MAX} lives: {twist:?}"),
    }
}

/// A test for each rule. Where it is seldom missed, guests do more of what it is there for.
macro_rules! are_missed {
    ($field:ident, $($test:ident: $rule:expr, $often:expr, $from:expr;)*) => {
        $(
            #[test]
            fn $test() {
                let twist = Twist {
                    $field: Some($rule),
                    often: &$often,
                    ..Twist::default()
                };
                is_missed_in(twist, $from);
            }
        )*
    };
}

#[test]
fn what_is_deleted_is_stored_until_the_end() {
    let twist = Twist {
        without_rule: Some(Rule::DeletedIsStoredUntilTheEnd),
        often: &[Act::Erase, Act::Delete],
        slow_turns: true,
        ..Twist::default()
    };
    is_missed_in(twist, 900);
}

are_missed! {
    without_rule,
    epochs_end_with_those_below: Rule::EpochsEndWithThoseBelow, [], 0;
    predecessors_are_waited_for: Rule::PredecessorsAreWaitedFor, [], 0;
    what_is_deleted_is_not_reached: Rule::DeletedIsNotReached, [Act::SetAlarm, Act::Delete], 0;
    lost_deletes_are_undone: Rule::LostDeletesAreUndone, [], 0;
    lost_restarts_are_undone: Rule::LostRestartsAreUndone, [], 0;
    startups_follow_their_turn: Rule::StartupsFollowTheirTurn, [Act::Get, Act::Trap], 0;
    copies_are_of_what_is_committed: Rule::CopiesAreOfWhatIsCommitted, [Act::Clone, Act::Delete], 0;
    places_are_kept_for_commits: Rule::PlacesAreKeptForCommits, [Act::Abort, Act::DropStub], 200;
    file_ids_are_new: Rule::FileIdsAreNew, [], 0;
    file_ids_are_kept: Rule::FileIdsAreKept, [Act::Delete], 3_250;
    entries_go_with_the_last: Rule::EntriesGoWithTheLast, [Act::Delete], 0;
}

are_missed! {
    without,
    the_dead_send_nothing: Missing::TheDeadSendNothing, [], 0;
    the_dead_decide_nothing: Missing::TheDeadDecideNothing, [], 0;
    lost_turns_are_undone: Missing::LostTurnsAreUndone, [], 0;
    units_are_queued_under_the_lock: Missing::QueuedUnderTheLock, [], 0;
    files_follow_units: Missing::FilesFollowUnits, [Act::Delete], 0;
    replies_wait: Missing::RepliesWait, [], 0;
    deps_are_inherited: Missing::DepsAreInherited, [], 0;
    files_go_before_the_next: Missing::FilesGoBeforeTheNext, [], 0;
    copies_are_between_turns: Missing::CopiesAreBetweenTurns, [Act::Clone], 0;
    sources_are_paused: Missing::SourcesArePaused, [Act::Clone], 600;
    unwanted_copies_go: Missing::UnwantedCopiesGo, [Act::Clone, Act::Abort], 0;
    trees_are_held: Missing::TreesAreHeld, [Act::Clone, Act::Delete], 600;
    gone_are_not_held: Missing::GoneAreNotHeld, [Act::Clone], 2_200;
    new_sources_are_held: Missing::NewSourcesAreHeld, [Act::Clone, Act::Get], 0;
    commits_of_the_gone_are_forgotten: Missing::CommitsOfTheGoneAreForgotten, [Act::Delete], 0;
    what_is_named_by_nobody_goes: Missing::WhatIsNamedByNobodyGoes, [Act::Delete], 0;
    objects_are_kept_until_they_are_settled: Missing::KeptUntilSettled, [], 0;
    mail_is_answered: Missing::MailIsAnswered, [], 0;
}
