//! Redo writes what the journal holds into databases and indexes, in order. Files may hold any mixture of what was written
//! to them since the last barrier, so nothing is concluded from them but what lay behind that barrier: a database that
//! begins in the journal is made anew, and what belongs to one that was removed later is skipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Lsn;
use super::disk::Disk;
use super::history::History;
use super::recovering::{Recovering, Stage};
use super::recovery::JournalError;
use super::rules::{self, Rule};
use super::unit::{DatabaseChange, Decoded, Pages, TreeUnit};
use crate::ids::{FileId, ObjectId};
use crate::index::{self, Head, IndexError, RedoRecord};
use crate::storage::file::DbFile;
use crate::storage::page::{self, PAGE, PAGE_BYTES};
use crate::sys::die::{self, Point};

/// Databases that are open at a time.
const OPEN_FILES_MAX: usize = 256;

/// What the journal says of one database.
#[derive(Default)]
struct DatabasePlan {
    /// How often it begins in the journal.
    generations: u32,
    removed: bool,
    /// A copy was announced, and is nobody's so far.
    announced: bool,
    /// As far as units were applied.
    current: u32,
    page_count: Option<u32>,
    lost: bool,
}

/// What the journal says of one index, since it last began.
#[derive(Default)]
struct IndexPlan {
    removed: bool,
    /// By their numbers: those of an object that was stuck come again, behind later ones.
    records: BTreeMap<u64, RedoRecord>,
}

/// What redo has done.
#[derive(Default)]
pub(super) struct Redone {
    /// Databases that the journal spoke of.
    pub(super) databases: usize,
    /// Those that were missing.
    pub(super) lost: usize,
    /// Objects whose index is what the journal says.
    pub(super) objects: BTreeSet<(PathBuf, ObjectId)>,
    /// Objects whose index lacks what the journal said of them.
    pub(super) doubtful: BTreeSet<(PathBuf, ObjectId)>,
    /// What has become of alarms.
    pub(super) alarms: AlarmsOf,
}

/// For each facet whose alarm units have changed, when it is due; by namespace directory.
pub(crate) type AlarmsOf = BTreeMap<Arc<Path>, BTreeMap<(ObjectId, FileId), Option<u64>>>;

pub(super) struct Redo {
    root: PathBuf,
    disk: Disk,
    dirs: HashMap<String, Arc<Path>>,
    databases: BTreeMap<DbFile, DatabasePlan>,
    indexes: BTreeMap<(Arc<Path>, ObjectId), IndexPlan>,
    histories: BTreeMap<(Arc<Path>, ObjectId), History>,
    /// Objects whose files are of another time than the journal, and why.
    misfits: BTreeMap<(Arc<Path>, ObjectId), String>,
    open: HashMap<DbFile, File>,
    alarms: AlarmsOf,
    recovering: Arc<Recovering>,
}

impl Redo {
    pub(super) fn new(root: &Path, disk: Disk, recovering: Arc<Recovering>) -> Self {
        Self {
            root: root.to_owned(),
            disk,
            dirs: HashMap::new(),
            databases: BTreeMap::new(),
            indexes: BTreeMap::new(),
            histories: BTreeMap::new(),
            misfits: BTreeMap::new(),
            open: HashMap::new(),
            alarms: AlarmsOf::new(),
            recovering,
        }
    }

    fn file(&mut self, unit: &Decoded, file: FileId) -> DbFile {
        DbFile {
            dir: self.dir(&unit.namespace),
            object: unit.object,
            file,
        }
    }

    fn dir(&mut self, namespace: &str) -> Arc<Path> {
        let dir = self.dirs.entry(namespace.to_owned());
        dir.or_insert_with(|| self.root.join(namespace).into()).clone()
    }

    /// The first time through: what becomes of each file.
    pub(super) fn plan(&mut self, lsn: Lsn, unit: Decoded) {
        let key = (self.dir(&unit.namespace), unit.object);
        let history = self.histories.entry(key).or_default();
        match unit.again {
            Lsn::ZERO => history.add(lsn, &unit),
            _ if unit.is_carried() => {}
            _ => history.vouch(&unit),
        }
        for (file, change) in &unit.databases {
            let file = self.file(&unit, *file);
            let plan = self.databases.entry(file).or_default();
            match change {
                DatabaseChange::Pages(Pages { whole: false, .. }) => {}
                DatabaseChange::Pages(_) | DatabaseChange::Copied(_) => {
                    plan.generations += 1;
                    (plan.removed, plan.announced) = (false, false);
                }
                DatabaseChange::Copying(_) => plan.announced = true,
                DatabaseChange::Removed => (plan.removed, plan.announced) = (true, false),
            }
        }
        if !unit.alarms.is_empty() {
            let dir = self.dir(&unit.namespace);
            let alarms = self.alarms.entry(dir).or_default();
            alarms.extend(unit.alarms.iter().map(|(file, due_ms)| ((unit.object, *file), *due_ms)));
        }
        if unit.tree == TreeUnit::Unchanged {
            return;
        }
        let key = (self.dir(&unit.namespace), unit.object);
        let plan = self.indexes.entry(key).or_default();
        match unit.tree {
            TreeUnit::Unchanged => {}
            TreeUnit::Removed => {
                *plan = IndexPlan {
                    removed: true,
                    records: BTreeMap::new(),
                }
            }
            TreeUnit::Append(append) => {
                if !append.header.is_empty() {
                    // Numbers begin again only after the file was removed, so what is later is of the same file.
                    plan.removed = false;
                    plan.records = plan.records.split_off(&append.seq);
                }
                let record = RedoRecord {
                    header: append.header,
                    record: append.record,
                    seq: append.seq,
                };
                plan.records.insert(append.seq, record);
            }
        }
    }

    /// Before anything is written: a log that an earlier process left would hide it.
    pub(super) fn prepare(&mut self) -> Result<(), JournalError> {
        for dir in self.dirs.values() {
            crate::sys::layout::make_homes(dir)?;
        }
        self.find_misfits()?;
        if rules::hold(Rule::StrangeLogIsRemoved, &self.root) {
            for file in self.databases.keys() {
                self.remove_companions(file)?;
            }
        }
        Ok(())
    }

    /// What the files of an object say of its history. None if there is no index of it, or it was written in part.
    fn shown(dir: &Path, object: ObjectId) -> Result<Option<Head>, JournalError> {
        let path = index::path(dir, object);
        index::head(&path, object).map_err(|error| JournalError::Io(format!("cannot read {}: {error}", path.display())))
    }

    /// What the journal holds of an object whose files are of another time is kept beside them.
    fn find_misfits(&mut self) -> Result<(), JournalError> {
        if !rules::hold(Rule::HistoriesGoOn, &self.root) {
            return Ok(());
        }
        for (key, history) in &self.histories {
            let (dir, object) = key;
            let shown = Self::shown(dir, *object)?;
            // One that is missing or damaged is another matter.
            let Some(why) = shown.and_then(|shown| history.misfit(shown)) else {
                continue;
            };
            tracing::error!(%object, why, "an object's files are of another time than the journal; what that holds is kept beside them");
            self.misfits.insert(key.clone(), why);
        }
        Ok(())
    }

    /// Whether the index, when it is as it should be, says that a database is somebody's: what says so in the journal may have been
    /// lost with a damaged part of it. From an index that cannot be used nothing is concluded.
    fn may_be_named(file: &DbFile) -> Result<bool, JournalError> {
        match index::read(&index::path(&file.dir, file.object), file.object) {
            Ok(found) => Ok(found.is_some_and(|(loaded, _)| loaded.has_database(file.file))),
            Err(error @ IndexError::Io { .. }) => Err(JournalError::Io(error.to_string())),
            Err(IndexError::Damaged { .. } | IndexError::Missing { .. }) => Ok(true),
        }
    }

    fn is_misfit(&self, file: &DbFile) -> bool {
        !self.misfits.is_empty() && self.misfits.contains_key(&(file.dir.clone(), file.object))
    }

    fn remove_companions(&self, file: &DbFile) -> io::Result<()> {
        let companions = file.companion_paths();
        companions.iter().try_for_each(|path| self.disk.remove(path))
    }

    /// The second time through.
    pub(super) fn apply(&mut self, unit: &Decoded) -> Result<(), JournalError> {
        for (file, change) in &unit.databases {
            let file = self.file(unit, *file);
            let plan = self.databases.get_mut(&file).expect("it was planned");
            match change {
                DatabaseChange::Pages(pages) => {
                    plan.current += u32::from(pages.whole);
                    let is_newest = plan.current == plan.generations && !plan.removed;
                    if is_newest || !rules::hold(Rule::GenerationsAreApart, &self.root) {
                        self.write(&file, pages)?;
                    }
                }
                DatabaseChange::Copied(_) => plan.current += 1,
                DatabaseChange::Copying(_) | DatabaseChange::Removed => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, file: &DbFile, pages: &Pages) -> Result<(), JournalError> {
        let mut path = file.path();
        let is_misfit = self.is_misfit(file);
        let plan = self.databases.get_mut(file).expect("it was planned");
        if pages.whole || !self.open.contains_key(file) {
            let found = match is_misfit {
                true => Err(io::ErrorKind::NotFound.into()),
                false => self.disk.open(&path, pages.whole),
            };
            let opened = match found {
                Ok(opened) => opened,
                // The rest of it is nowhere, or of another time. Its facet says so; others can be served, and what the journal holds
                // is kept.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let lost = file.lost_path();
                    if !std::mem::replace(&mut plan.lost, true) {
                        tracing::error!(file = %path.display(), kept = %lost.display(), "a database is missing, or of another time; \
                            its newest commits are kept beside it");
                        drop(self.disk.open(&lost, true)?);
                    }
                    self.disk.open(&lost, false)?
                }
                Err(error) => return Err(error.into()),
            };
            if self.open.len() >= OPEN_FILES_MAX {
                self.open.clear();
            }
            self.open.insert(file.clone(), opened);
        }
        plan.page_count = Some(pages.page_count);
        if plan.lost {
            path = file.lost_path();
        }
        let opened = &self.open[file];
        let mut raw = pages.unpacked().map_err(|why| JournalError::Damaged {
            path: path.clone(),
            why: format!("its pages in the journal cannot be unpacked: {why}"),
        })?;
        for (page, number) in raw.chunks_exact_mut(PAGE).zip(&pages.numbers) {
            page::stamp(page, *number);
            let at = u64::from(number - 1) * PAGE_BYTES;
            self.disk.write(&path, opened, page, at)?;
            die::pass(Point::RedoPage);
        }
        Ok(())
    }

    /// Lengths, what was removed, and the indexes.
    pub(super) fn finish(mut self) -> Result<Redone, JournalError> {
        self.open.clear();
        for (file, plan) in &self.databases {
            if plan.announced {
                // Whether it is somebody's is known when the indexes are as they should be.
                continue;
            }
            if plan.removed {
                // Of a misfit nothing is taken away.
                if !self.is_misfit(file) {
                    self.remove(file)?;
                }
                continue;
            }
            if let Some(pages) = plan.page_count {
                let path = match plan.lost {
                    true => file.lost_path(),
                    false => file.path(),
                };
                let opened = self.disk.open(&path, false)?;
                self.disk.set_len(&path, &opened, u64::from(pages) * PAGE_BYTES)?;
                die::pass(Point::RedoLength);
            }
        }
        let databases = self.databases.len();
        let lost = self.databases.values().filter(|plan| plan.lost).count();
        let mut redone = self.indexes()?;
        (redone.databases, redone.lost) = (databases, lost);
        let announced = self.databases.iter().filter(|(_, plan)| plan.announced);
        for (file, _) in announced {
            if !self.is_misfit(file) && !Self::may_be_named(file)? {
                tracing::info!(file = %file.path().display(), "removed a copy that was never anybody's");
                self.remove(file)?;
            }
        }
        redone.alarms = self.alarms;
        Ok(redone)
    }

    fn remove(&self, file: &DbFile) -> io::Result<()> {
        self.disk.remove(&file.path())?;
        self.remove_companions(file)?;
        die::pass(Point::RedoRemoved);
        Ok(())
    }

    /// All new files are written before one barrier, and named after it: a name must not outlive what it stands for.
    fn indexes(&mut self) -> Result<Redone, JournalError> {
        let (mut redone, mut written) = (Redone::default(), Vec::new());
        let mut plans = std::mem::take(&mut self.indexes);
        let histories = std::mem::take(&mut self.histories);
        let all = histories.len() as u64;
        for (done, (at, history)) in (0..).zip(histories) {
            self.recovering.tell(Stage::Indexes { done, all });
            let plan = plans.remove(&at).unwrap_or_default();
            let misfit = self.misfits.get(&at);
            let (dir, object) = at;
            let path = index::path(&dir, object);
            let key = (dir.to_path_buf(), object);
            if plan.removed && plan.records.is_empty() && misfit.is_none() {
                self.disk.remove(&path)?;
                die::pass(Point::RedoIndexRemoved);
                redone.objects.insert(key);
                continue;
            }
            let speaks = !plan.records.is_empty();
            let records: Vec<_> = plan.records.into_values().collect();
            let head = history.head_from(Self::shown(&dir, object)?.unwrap_or_default());
            let becomes = match misfit {
                None => index::redone(&path, object, &records, head),
                Some(why) => Err(IndexError::Damaged {
                    path: path.clone(),
                    why: why.clone(),
                }),
            };
            match becomes {
                Ok(becomes) => {
                    if speaks {
                        redone.objects.insert(key);
                    }
                    match becomes {
                        index::Redone::Nothing => {}
                        index::Redone::Head => {
                            let (place, bytes) = index::head_bytes(head);
                            self.disk.write_there(&path, &bytes, place)?;
                            die::pass(Point::RedoHeadShown);
                        }
                        index::Redone::Anew(image) => {
                            let temporary = path.with_extension("facets.new");
                            self.write_anew(&temporary, &image)?;
                            written.push((temporary, path));
                        }
                    }
                }
                Err(error @ IndexError::Io { .. }) => return Err(JournalError::Io(error.to_string())),
                // The object says so to whoever calls it. What the journal holds of it goes with the journal, and is kept.
                Err(error @ (IndexError::Damaged { .. } | IndexError::Missing { .. })) => {
                    let lost = index::lost_path(&path);
                    tracing::error!(%object, %error, kept = %lost.display(), "an index cannot be recovered");
                    redone.doubtful.insert(key);
                    let mut image = match std::fs::read(&lost) {
                        Ok(earlier) => earlier,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                        Err(error) => return Err(JournalError::Io(format!("cannot read {}: {error}", lost.display()))),
                    };
                    let records = index::records_image(&records);
                    if image.ends_with(&records) && lost.exists() {
                        continue;
                    }
                    image.extend(records);
                    let temporary = lost.with_extension("lost.new");
                    self.write_anew(&temporary, &image)?;
                    written.push((temporary, lost));
                }
            }
        }
        if !written.is_empty() {
            self.disk.sync_all(&self.root)?;
            die::pass(Point::RedoIndexWritten);
        }
        for (temporary, path) in written {
            self.disk.rename(&temporary, &path)?;
            die::pass(Point::RedoIndexRenamed);
        }
        Ok(redone)
    }

    fn write_anew(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, true)?;
        self.disk.write(path, &file, bytes, 0)
    }
}
