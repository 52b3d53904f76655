//! The alarms of a running host: every namespace has its tasks, and all of them share one number of slots, beside a few of its own.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::deliver::Objects;
use super::run::{IN_FLIGHT_MAX, IN_FLIGHT_OF_EACH, Slots, SystemClock, keep_index, run};
use super::survey;
use crate::host::HostInner;
use crate::namespace::Namespace;

/// Delivers alarms from now on, until each namespace's are stopped.
pub(crate) fn serve<'a>(host: &Arc<HostInner>, namespaces: impl Iterator<Item = &'a Arc<Namespace>>) {
    let mut surveyed = Vec::new();
    let shared = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let clock = Arc::new(SystemClock);
    for namespace in namespaces {
        let alarms = namespace.alarms.clone();
        surveyed.push(alarms.clone());
        let objects = Objects {
            host: Arc::downgrade(host),
            namespace: namespace.clone(),
        };
        let slots = Slots::new(shared.clone(), IN_FLIGHT_OF_EACH);
        host.runtime
            .spawn(keep_index(alarms.clone(), host.journal.progress().durability()));
        host.runtime.spawn(run(alarms, clock.clone(), Arc::new(objects), slots));
    }
    survey::begin(surveyed, &host.journal);
}
