//! The host is killed at every boundary between two steps of every operation that changes a tree, and at every step of
//! the recovery from that: what is left is the whole operation or nothing of it, in the tree and among the files.
//!
//! Which points an operation passes is not written here: a life of the host that dies nowhere tells. A point at which
//! nobody dies fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::config;
use crate::shapes::{Operation, Shape, operations, with_props};
use crate::support::cli::facetd;
use crate::support::client::Client;
use crate::support::host::Host;
use crate::support::process;

/// See `host/src/sys/die.rs`.
const VARIABLE: &str = "FACETD_TEST_DIE_AT";
const TELLS: &str = "die-at: passes ";
const LAST_WORDS: &str = "die-at: dies at ";
/// Small files, for they are copied.
const SEGMENT: (&str, &str) = ("FACETD_TEST_SEGMENT_MIB", "4");
/// A point that one operation passes more often is died at this often.
const TIMES_MAX: u32 = 2;
/// In one directory: after a death every database in it is looked at.
const DEATHS_MAX: usize = 8;
/// Hosts that die side by side.
const LANES: usize = 3;
const REFUSAL_LIMIT: Duration = Duration::from_secs(30);

/// Points at which a host died.
type Deaths = BTreeSet<String>;

#[test]
fn whoever_dies_between_two_steps_leaves_all_or_nothing() -> Result<()> {
    let all = all_points()?;
    let mut lanes: Vec<Vec<Operation>> = (0..LANES).map(|_| Vec::new()).collect();
    for (i, operation) in operations().into_iter().enumerate() {
        lanes[i % LANES].push(operation);
    }
    let results = thread::scope(|scope| {
        let mut running: Vec<_> = lanes
            .into_iter()
            .map(|lane| scope.spawn(move || operations_die(&lane)))
            .collect();
        running.push(scope.spawn(|| recoveries_die(Ending::WithAnOrphan)));
        running.push(scope.spawn(|| recoveries_die(Ending::BeforeFilesFollow)));
        let results = running
            .into_iter()
            .map(|lane| lane.join().map_err(|_| anyhow!("a lane panicked")));
        results.map(Result::flatten).collect::<Vec<_>>()
    });
    let mut died = Deaths::new();
    for deaths in results {
        died.extend(deaths?);
    }
    let never: Vec<_> = all.difference(&died).collect();
    ensure!(never.is_empty(), "nobody ever died at {never:?}");
    Ok(())
}

/// The host knows them: it names them all when it is asked for one that there is not.
fn all_points() -> Result<BTreeSet<String>> {
    let host = Host::new(&config())?;
    let mut command = host.serve_command();
    let refused = process::run(command.env(VARIABLE, "?").stdin(Stdio::null()), REFUSAL_LIMIT, |_| ())?;
    ensure!(refused.status.code() == Some(2), "{refused:?}");
    let (_, words) = refused.stderr.split_once("there are: ").context("no list of points")?;
    Ok(words.split_whitespace().map(str::to_owned).collect())
}

/// A host that is told when to die.
struct Mortal {
    host: Host,
    client: Client,
}

impl Mortal {
    fn new() -> Result<Self> {
        let mut host = Host::in_memory(&config())?;
        host.set_env(SEGMENT.0, SEGMENT.1);
        Ok(Self {
            host,
            client: Client::new(),
        })
    }

    /// Of the lives that begin from now on. None: they die nowhere.
    fn fate(&mut self, fate: Option<&str>) {
        self.host.unset_env(VARIABLE);
        if let Some(fate) = fate {
            self.host.set_env(VARIABLE, fate);
        }
    }

    fn read(&mut self, on: &str) -> Result<Shape> {
        let url = self.host.url()?;
        Shape::read(&self.client, &url, on)
    }

    /// True if it was acknowledged, false if the connection broke. Any other answer is an error.
    fn run(&mut self, on: &str, ops: &Value) -> Result<bool> {
        let url = self.host.url()?;
        match self.client.run(&url, on, ops) {
            Err(_) => Ok(false),
            Ok(Ok(results)) if results.iter().all(|result| result.get("ok").is_some()) => Ok(true),
            Ok(other) => Err(anyhow!("{on}: {ops}: {other:?}")),
        }
    }

    fn prepare(&mut self, on: &str, operation: &Operation) -> Result<()> {
        for turn in &operation.prepare {
            ensure!(self.run(on, turn)?, "{on} was not prepared");
        }
        Ok(())
    }

    /// How often each point was passed since the log was so long.
    fn told_since(&self, bytes: usize) -> BTreeMap<String, u32> {
        let mut passed = BTreeMap::new();
        for line in self.host.whole_log()[bytes..].lines() {
            if let Some(word) = line.strip_prefix(TELLS) {
                *passed.entry(word.to_owned()).or_default() += 1;
            }
        }
        passed
    }

    /// Whether it died there since the log was so long.
    fn died_since(&self, bytes: usize, point: &str) -> bool {
        let said = format!("{LAST_WORDS}{point}");
        self.host.whole_log()[bytes..].lines().any(|line| line == said)
    }
}

fn killed(status: Option<ExitStatus>) -> bool {
    status.is_some_and(|status| status.signal() == Some(9))
}

/// One death to die.
struct Death {
    point: String,
    nth: u32,
    on: String,
}

/// What an operation does when nobody dies.
struct Peaceful {
    before: Shape,
    after: Shape,
    passed: BTreeMap<String, u32>,
}

fn operations_die(operations: &[Operation]) -> Result<Deaths> {
    let mut mortal = Mortal::new()?;
    let (mut died, mut deaths) = (Deaths::new(), 0);
    for operation in operations {
        deaths += operation_dies(&mut mortal, operation, &mut died)
            .with_context(|| format!("{}\n{}", operation.name, mortal.host.log()))?;
    }
    println!("{deaths} deaths of operations");
    Ok(died)
}

/// Has one operation die at every point that it passes. Answers how often.
fn operation_dies(mortal: &mut Mortal, operation: &Operation, died: &mut Deaths) -> Result<usize> {
    let peaceful = watch(mortal, operation)?;
    let deaths = plan(operation, &peaceful);
    for some in deaths.chunks(DEATHS_MAX) {
        fs::remove_dir_all(mortal.host.data().join("t"))?;
        some_deaths(mortal, operation, &peaceful, some, died)?;
    }
    Ok(deaths.len())
}

fn some_deaths(
    mortal: &mut Mortal,
    operation: &Operation,
    peaceful: &Peaceful,
    deaths: &[Death],
    died: &mut Deaths,
) -> Result<()> {
    mortal.fate(None);
    for death in deaths {
        mortal.prepare(&death.on, operation)?;
    }
    mortal.host.stop()?;
    let mut found = Vec::new();
    let mut last: Option<(&Death, bool)> = None;
    for death in deaths {
        let fate = format!("{}:{}", death.point, death.nth);
        mortal.fate(Some(&fate));
        let log_bytes = mortal.host.whole_log().len();
        // The life that is going to die is the one that finds what the last one left.
        if let Some((last, acknowledged)) = last {
            found.push(verify(mortal, operation, peaceful, last, acknowledged)?);
        }
        let acknowledged = mortal.run(&death.on, &operation.act)?;
        let status = mortal.host.finish()?;
        let dead = killed(status) && mortal.died_since(log_bytes, &death.point);
        // How many batches, and so how many of some points, depends on how fast the threads were.
        ensure!(
            dead || death.nth > 1 && status.is_some_and(|status| status.success()),
            "{}: nobody died at {fate}, but {status:?}\n{}",
            death.on,
            mortal.host.log()
        );
        died.extend(dead.then(|| death.point.clone()));
        last = Some((death, acknowledged));
    }
    mortal.fate(None);
    if let Some((last, acknowledged)) = last {
        found.push(verify(mortal, operation, peaceful, last, acknowledged)?);
    }
    // No later death has touched what an earlier one left.
    for (death, shape) in deaths.iter().zip(&found) {
        ensure!(
            mortal.read(&death.on)?.stored() == *shape,
            "{} has changed later",
            death.on
        );
    }
    mortal.host.stop()?;
    remove_left_overs(&mortal.host.data())?;
    for (death, shape) in deaths.iter().zip(&found) {
        shape.check_files(&mortal.host.data(), &death.on, true)?;
    }
    check(&mortal.host.data())
}

/// Does it once, in a life that tells which points it passes until it has stopped.
fn watch(mortal: &mut Mortal, operation: &Operation) -> Result<Peaceful> {
    let on = format!("t/{}", operation.name);
    mortal.fate(None);
    mortal.prepare(&on, operation)?;
    mortal.host.stop()?;
    mortal.fate(Some("tell"));
    let before = mortal.read(&on)?.stored();
    let log_bytes = mortal.host.whole_log().len();
    ensure!(mortal.run(&on, &operation.act)?, "{on} could not be done");
    let after = mortal.read(&on)?.stored();
    mortal.host.stop()?;
    ensure!(before != after, "{on} has no effect: {after:?}");
    let passed = mortal.told_since(log_bytes);
    Ok(Peaceful { before, after, passed })
}

fn plan(operation: &Operation, peaceful: &Peaceful) -> Vec<Death> {
    let mut deaths = Vec::new();
    for (point, times) in &peaceful.passed {
        deaths.extend((1..=TIMES_MAX.min(*times)).map(|nth| Death {
            point: point.clone(),
            nth,
            on: format!("t/{}-{point}-{nth}", operation.name),
        }));
    }
    deaths
}

/// All of it or nothing is there, and all of it if that was acknowledged. Answers what is stored.
fn verify(
    mortal: &mut Mortal,
    operation: &Operation,
    peaceful: &Peaceful,
    death: &Death,
    acknowledged: bool,
) -> Result<Shape> {
    let Peaceful { before, after, .. } = peaceful;
    let found = mortal.read(&death.on)?;
    found.check_files(&mortal.host.data(), &death.on, false)?;
    let stored = found.stored();
    let halfway = (operation.halfway)(before);
    let allowed = stored == *after || !acknowledged && (stored == *before || Some(&stored) == halfway.as_ref());
    ensure!(
        allowed,
        "{}: acknowledged: {acknowledged}\n  was  {before:?}\n  is   {stored:?}\n  goal {after:?}",
        death.on
    );
    Ok(stored)
}

/// How the life ends from which the host recovers.
#[derive(Clone, Copy)]
enum Ending {
    /// In a clone, with a copy that nothing names.
    WithAnOrphan,
    /// Everything is durable, and the last unit has not been shown to files.
    BeforeFilesFollow,
}

const ON_LAST: &str = "t/last";

fn recoveries_die(ending: Ending) -> Result<Deaths> {
    let mut mortal = Mortal::new()?;
    let mut wanted = lived(&mut mortal, ending)?;
    let kept = Kept::new(&mortal.host.data())?;
    // A recovery that nobody disturbs tells what it passes.
    mortal.fate(Some("tell"));
    let log_bytes = mortal.host.whole_log().len();
    mortal.host.url()?;
    let passed = mortal.told_since(log_bytes);
    let last = mortal.read(ON_LAST)?.stored();
    ensure!(
        wanted.last.contains(&last),
        "the last operation is there in part: {last:?}, and should be one of {:?}",
        wanted.last
    );
    wanted.all.push((ON_LAST.to_owned(), last));
    confirm(&mut mortal, &wanted.all)?;
    let mut died = Deaths::new();
    for (point, times) in passed {
        for nth in BTreeSet::from([1, times.div_ceil(2), times]) {
            kept.restore()?;
            mortal.fate(Some(&format!("{point}:{nth}")));
            let log_bytes = mortal.host.whole_log().len();
            let started = mortal.host.url();
            // What is passed behind the line that says that it serves.
            let dead = started.is_err() || killed(mortal.host.wait()?);
            ensure!(
                dead && mortal.died_since(log_bytes, &point),
                "the recovery did not die at {point}:{nth}\n{}",
                mortal.host.log()
            );
            died.insert(point.clone());
            mortal.fate(None);
            confirm(&mut mortal, &wanted.all)
                .with_context(|| format!("after a recovery that died at {point}:{nth}"))?;
        }
    }
    for point in REWRITES {
        kept.restore()?;
        mortal.fate(Some(&format!("{point}:1")));
        let log_bytes = mortal.host.whole_log().len();
        let answered = mortal.read(ON_OLD);
        let dead = answered.is_err() && killed(mortal.host.wait()?);
        ensure!(
            dead && mortal.died_since(log_bytes, point),
            "nobody died at {point} who read {ON_OLD}\n{}",
            mortal.host.log()
        );
        died.insert(point.to_owned());
        mortal.fate(None);
        confirm(&mut mortal, &wanted.all).with_context(|| format!("after {point}"))?;
    }
    Ok(died)
}

/// What is passed when an object is first read whose index is mostly history.
const REWRITES: [&str; 2] = ["rewrite-written", "rewrite-renamed"];
const ON_OLD: &str = "t/old";

/// What must be there.
struct Wanted {
    all: Vec<(String, Shape)>,
    /// One of these, at the last object.
    last: Vec<Shape>,
}

/// A life in which everything is done once, and its end.
fn lived(mortal: &mut Mortal, ending: Ending) -> Result<Wanted> {
    let operations = operations();
    let on = |operation: &Operation| format!("t/{}", operation.name);
    let named = |name| {
        operations
            .iter()
            .find(|operation| operation.name == name)
            .context("no such operation")
    };
    let (last, fate) = match ending {
        // Clones before it: `clone` and `clone-over` and `move`, each of which is synced once.
        Ending::WithAnOrphan => (named("clone")?, "copy-synced:4"),
        // Indexes that begin in this life: of `create-root`, of `history` and of the old object, then this one.
        Ending::BeforeFilesFollow => (named("create-root")?, "index-cleared:4"),
    };
    mortal.fate(None);
    let mut wanted = Wanted {
        all: Vec::new(),
        last: Vec::new(),
    };
    for operation in &operations {
        mortal.prepare(&on(operation), operation)?;
    }
    mortal.prepare(ON_LAST, last)?;
    wanted.last.push(mortal.read(ON_LAST)?.stored());
    mortal.host.stop()?;
    mortal.fate(Some(fate));
    for operation in &operations {
        ensure!(
            mortal.run(&on(operation), &operation.act)?,
            "{} died early",
            operation.name
        );
        wanted.all.push((on(operation), mortal.read(&on(operation))?.stored()));
        if operation.name == last.name && matches!(ending, Ending::BeforeFilesFollow) {
            // Durable before the point, so it must be there.
            wanted.last = vec![wanted.all.last().expect("just pushed").1.clone()];
        }
    }
    mostly_history(mortal)?;
    let acknowledged = mortal.run(ON_LAST, &last.act)?;
    let status = mortal.host.wait()?;
    ensure!(
        killed(status) && (!acknowledged || matches!(ending, Ending::BeforeFilesFollow)),
        "not the end that was meant: {status:?}\n{}",
        mortal.host.log()
    );
    Ok(wanted)
}

/// An object whose index is going to be written anew when it is next read.
fn mostly_history(mortal: &mut Mortal) -> Result<()> {
    for props in ["a", "b", "c"] {
        ensure!(mortal.run(ON_OLD, &with_props(props, 60_000))?);
    }
    ensure!(mortal.run(ON_OLD, &with_props("d", 1))?);
    Ok(())
}

/// All objects are what they should be, in the tree and on disk.
fn confirm(mortal: &mut Mortal, wanted: &[(String, Shape)]) -> Result<()> {
    for (on, shape) in wanted {
        let found = mortal.read(on)?;
        found.check_files(&mortal.host.data(), on, false)?;
        let found = found.stored();
        ensure!(found == *shape, "{on}:\n  should be {shape:?}\n  is        {found:?}");
    }
    mortal.host.stop()?;
    remove_left_overs(&mortal.host.data())?;
    for (on, shape) in wanted {
        shape.check_files(&mortal.host.data(), on, true)?;
    }
    check(&mortal.host.data())
}

/// Databases to which nothing was committed are in nobody's way; of a directory that was stopped cleanly nothing else goes.
fn remove_left_overs(data: &Path) -> Result<()> {
    let recovered = facetd(&["recover", "--data", data.to_str().context("the path is UTF-8")?])?;
    ensure!(recovered.status.success(), "{recovered:?}");
    Ok(())
}

fn check(data: &Path) -> Result<()> {
    let checked = facetd(&["check", "--data", data.to_str().context("the path is UTF-8")?])?;
    ensure!(checked.status.success(), "{checked:?}");
    Ok(())
}

/// A copy of everything in a data directory that is not derived.
struct Kept {
    data: PathBuf,
    copy: PathBuf,
}

impl Kept {
    const NAMES: [&'static str; 2] = ["journal", "t"];
    /// One that does not say which file it is, so that a copy passes for the original.
    const DIRTY: &'static str = "DIRTY";

    fn new(data: &Path) -> Result<Self> {
        let copy = data.with_file_name("kept");
        for name in Self::NAMES {
            copy_all(&data.join(name), &copy.join(name))?;
        }
        anyhow::ensure!(data.join(Self::DIRTY).exists(), "the host was not killed");
        Ok(Self {
            data: data.to_owned(),
            copy,
        })
    }

    fn restore(&self) -> Result<()> {
        for name in Self::NAMES {
            let there = self.data.join(name);
            match there.is_dir() {
                true => fs::remove_dir_all(&there)?,
                false if there.exists() => fs::remove_file(&there)?,
                false => {}
            }
            copy_all(&self.copy.join(name), &there)?;
        }
        fs::write(self.data.join(Self::DIRTY), b"").context("could not write DIRTY")
    }
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("could not copy {}", from.display()))?;
    Ok(())
}
