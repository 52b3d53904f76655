//! Ordinary use never fills the journal for ever: whoever is deleted while a turn of it is being sealed leaves nothing behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::support::cli::facetd;
use crate::support::client::Client;
use crate::support::host::Host;
use crate::{config, run_in_child};

const TREES: usize = 4;
/// One in twelve removals met a commit on its way.
const DELETES: usize = 100;

#[test]
fn deletes_beside_writes_leave_the_journal_empty() -> Result<()> {
    let mut host = Host::new(&config())?;
    host.set_env("FACETD_TEST_SEGMENT_MIB", "4");
    let url = host.url()?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut deleters = Vec::new();
        for tree in 0..TREES {
            let (url, over) = (&url, &over);
            let on = format!("t/tree-{tree}");
            let name = on.clone();
            scope.spawn(move || {
                let client = Client::new();
                while !over.load(Ordering::SeqCst) {
                    // It may be deleted while it writes, and says so.
                    let put = json!([{"op": "kv.put", "key": "k", "value": "v"}]);
                    let _ = run_in_child(&client, url, &name, "child", put);
                }
            });
            deleters.push(scope.spawn(move || -> Result<()> {
                let client = Client::new();
                for _ in 0..DELETES {
                    let deleted = client.run(url, &on, &json!([{"op": "facet.delete", "name": "child"}]))?;
                    ensure!(deleted.is_ok(), "{deleted:?}");
                }
                Ok(())
            }));
        }
        let deleted = deleters
            .into_iter()
            .try_for_each(|deleter| deleter.join().expect("it does not panic"));
        over.store(true, Ordering::SeqCst);
        deleted
    })?;
    // A pin that nobody lifts keeps the journal, and the stop is none.
    host.stop()?;
    let logs = std::fs::read_dir(host.data().join("journal"))?.filter(|entry| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "log"))
    });
    ensure!(logs.count() == 1, "segments are left of a clean stop");
    let checked = facetd(&["check", "--data", &host.data().to_string_lossy()])?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}
