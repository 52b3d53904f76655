//! Each rule is there for a reason: without it, some life ends with a promise broken, and the checks see it.

use super::{Missing, Twist, live};
use crate::object::rules::Rule;

/// Lives in which it must be seen.
const LIVES_MAX: u64 = 6_000;

fn is_missed_in(twist: Twist) {
    let broken = (0..LIVES_MAX).find_map(|seed| live(seed, twist, false).err().map(|why| (seed, why)));
    match broken {
        Some((seed, why)) => println!("{twist:?}: life {seed}: {why}"),
        None => panic!("nobody misses it in {LIVES_MAX} lives: {twist:?}"),
    }
}

fn is_missed(without: Missing) {
    is_missed_in(Twist {
        without: Some(without),
        ..Twist::default()
    });
}

fn rule_is_missed(rule: Rule) {
    is_missed_in(Twist {
        without_rule: Some(rule),
        ..Twist::default()
    });
}

macro_rules! missed {
    ($($test:ident: $rule:expr;)*) => {
        $(
            #[test]
            fn $test() {
                rule_is_missed($rule);
            }
        )*
    };
}

macro_rules! missed_by_others {
    ($($test:ident: $rule:expr;)*) => {
        $(
            #[test]
            fn $test() {
                is_missed($rule);
            }
        )*
    };
}

missed! {
    epochs_end_with_those_below: Rule::EpochsEndWithThoseBelow;
    predecessors_are_waited_for: Rule::PredecessorsAreWaitedFor;
    what_is_deleted_is_not_reached: Rule::DeletedIsNotReached;
    lost_deletes_are_undone: Rule::LostDeletesAreUndone;
    lost_restarts_are_undone: Rule::LostRestartsAreUndone;
    what_is_deleted_is_stored_until_the_end: Rule::DeletedIsStoredUntilTheEnd;
    startups_follow_their_turn: Rule::StartupsFollowTheirTurn;
    copies_are_of_what_is_committed: Rule::CopiesAreOfWhatIsCommitted;
    places_are_kept_for_commits: Rule::PlacesAreKeptForCommits;
    file_ids_are_new: Rule::FileIdsAreNew;
    file_ids_are_kept: Rule::FileIdsAreKept;
    entries_go_with_the_last: Rule::EntriesGoWithTheLast;
}

missed_by_others! {
    the_dead_send_nothing: Missing::TheDeadSendNothing;
    the_dead_decide_nothing: Missing::TheDeadDecideNothing;
    lost_turns_are_undone: Missing::LostTurnsAreUndone;
    units_are_queued_under_the_lock: Missing::QueuedUnderTheLock;
    files_follow_units: Missing::FilesFollowUnits;
    replies_wait: Missing::RepliesWait;
    deps_are_inherited: Missing::DepsAreInherited;
    files_go_before_the_next: Missing::FilesGoBeforeTheNext;
    copies_are_between_turns: Missing::CopiesAreBetweenTurns;
    unwanted_copies_go: Missing::UnwantedCopiesGo;
    what_is_named_by_nobody_goes: Missing::WhatIsNamedByNobodyGoes;
    objects_are_kept_until_they_are_settled: Missing::KeptUntilSettled;
    mail_is_answered: Missing::MailIsAnswered;
}
