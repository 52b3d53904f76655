//! What a power failure would leave of a data directory: of each file and each directory what is durable, and what was
//! there since. A failure keeps the former and any part of the latter: any sector of any version, any of the names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::random::Random;

const PAGE: usize = 4096;
const SECTOR: usize = 512;
static ZEROES: [u8; PAGE] = [0; PAGE];

/// None stands for zeroes.
type Page = Option<Arc<[u8; PAGE]>>;

fn bytes_of(page: &Page) -> &[u8; PAGE] {
    page.as_deref().unwrap_or(&ZEROES)
}

fn page_of(bytes: &[u8; PAGE]) -> Page {
    (*bytes != ZEROES).then(|| Arc::new(*bytes))
}

/// What a file holds, whole pages and its length.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: Vec<Page>,
    bytes: u64,
}

impl Content {
    fn page(&self, at: usize) -> &Page {
        self.pages.get(at).unwrap_or(&None)
    }

    fn set(&mut self, at: usize, page: Page) {
        if self.pages.len() <= at {
            self.pages.resize(at + 1, None);
        }
        self.pages[at] = page;
    }

    fn write(&self, path: &Path) {
        use std::os::unix::fs::FileExt;
        let file = fs::File::create(path).unwrap();
        file.set_len(self.bytes).unwrap();
        for (at, page) in self.pages.iter().enumerate() {
            let (at, Some(page)) = ((at * PAGE) as u64, page) else {
                continue;
            };
            if at < self.bytes {
                let length = (self.bytes - at).min(PAGE as u64) as usize;
                file.write_all_at(&page[..length], at).unwrap();
            }
        }
    }
}

/// One file, whatever its names.
#[derive(Clone, Default)]
struct Node {
    durable: Content,
    /// As it was last seen.
    seen: Content,
    /// Pages between the two.
    between: Vec<(usize, Page)>,
    lengths: Vec<u64>,
    /// Blocks that are being written: a failure may leave anything in them.
    in_flight: BTreeSet<usize>,
    /// When the snapshot was taken that is durable, and when single pages became so.
    since: u64,
    pages_since: HashMap<usize, u64>,
    /// Pages that a failed sync has lost: no later one makes them durable, they seem to be.
    stuck: HashMap<usize, Page>,
}

impl Node {
    fn fail_sync(&mut self) {
        for at in 0..self.seen.pages.len().max(self.durable.pages.len()) {
            if self.seen.page(at) != self.durable.page(at) {
                self.stuck.insert(at, self.seen.page(at).clone());
            }
        }
    }

    fn see_page(&mut self, at: usize, bytes: &[u8; PAGE]) {
        if bytes_of(self.seen.page(at)) != bytes {
            let old = self.seen.page(at).clone();
            self.between.push((at, old));
            self.seen.set(at, page_of(bytes));
        }
    }

    fn see_length(&mut self, bytes: u64) {
        if self.seen.bytes != bytes {
            self.lengths.push(self.seen.bytes);
            self.seen.bytes = bytes;
        }
    }

    /// All of it.
    fn see(&mut self, bytes: &[u8]) {
        self.see_length(bytes.len() as u64);
        for (at, piece) in bytes.chunks(PAGE).enumerate() {
            match piece.try_into() {
                Ok(page) => self.see_page(at, page),
                Err(_) => {
                    let mut page = ZEROES;
                    page[..piece.len()].copy_from_slice(piece);
                    self.see_page(at, &page);
                }
            }
        }
        for at in bytes.len().div_ceil(PAGE)..self.seen.pages.len() {
            self.see_page(at, &ZEROES);
        }
    }

    /// A piece of it.
    fn see_piece(&mut self, at: u64, bytes: &[u8]) {
        let end = at + bytes.len() as u64;
        if end > self.seen.bytes {
            self.see_length(end);
        }
        let at = at as usize;
        for page_at in at / PAGE..(at + bytes.len()).div_ceil(PAGE) {
            let begin = page_at * PAGE;
            let (from, to) = (at.max(begin), (at + bytes.len()).min(begin + PAGE));
            let mut page = *bytes_of(self.seen.page(page_at));
            page[from - begin..to - begin].copy_from_slice(&bytes[from - at..to - at]);
            self.see_page(page_at, &page);
        }
    }

    fn promote_piece(&mut self, at: u64, bytes: usize, now: u64) {
        for page in at as usize / PAGE..(at as usize + bytes).div_ceil(PAGE) {
            let seen = self.seen.page(page).clone();
            self.pages_since.insert(page, now);
            self.durable.set(page, seen);
            self.between.retain(|(at, _)| *at != page);
        }
        self.durable.bytes = self.durable.bytes.max(at + bytes as u64);
    }

    /// What was there at a time is durable, unless something newer is.
    fn promote(&mut self, mut snapshot: Content, then: u64) {
        if then < self.since {
            return;
        }
        self.since = then;
        for (page, stuck) in &self.stuck {
            if snapshot.page(*page) == stuck {
                snapshot.set(*page, self.durable.page(*page).clone());
            }
        }
        for (page, _) in self.pages_since.iter().filter(|(_, since)| **since > then) {
            snapshot.set(*page, self.durable.page(*page).clone());
            snapshot.bytes = snapshot.bytes.max(self.durable.bytes);
        }
        self.durable = snapshot;
        self.between.clear();
        self.lengths.clear();
    }

    fn after_failure(&self, random: &mut Random) -> Content {
        // Whole files of one kind find other faults than files of all kinds.
        match random.below(5) {
            0 => self.with_flight(self.durable.clone(), random),
            1 => self.with_flight(self.seen.clone(), random),
            2 => self.mixed(random, PAGE),
            _ => self.mixed(random, SECTOR),
        }
    }

    fn with_flight(&self, mut content: Content, random: &mut Random) -> Content {
        for at in &self.in_flight {
            let page = match random.below(3) {
                0 => self.durable.page(*at).clone(),
                1 => self.seen.page(*at).clone(),
                _ => {
                    let noise: [u8; PAGE] = random.noise(PAGE).try_into().unwrap();
                    page_of(&noise)
                }
            };
            if (*at * PAGE) < content.bytes as usize {
                content.set(*at, page);
            }
        }
        content
    }

    fn mixed(&self, random: &mut Random, piece: usize) -> Content {
        let mut lengths = vec![self.durable.bytes, self.seen.bytes];
        lengths.extend(&self.lengths);
        let bytes = *random.pick(&lengths);
        let mut versions: HashMap<usize, Vec<&Page>> = HashMap::new();
        for (at, page) in &self.between {
            versions.entry(*at).or_default().push(page);
        }
        let mut content = Content {
            pages: Vec::new(),
            bytes,
        };
        for at in 0..(bytes as usize).div_ceil(PAGE) {
            let (durable, seen) = (self.durable.page(at), self.seen.page(at));
            let between = versions.get(&at).map_or(&[][..], |found| found);
            if between.is_empty() && durable == seen {
                if durable.is_some() {
                    content.set(at, durable.clone());
                }
                continue;
            }
            let mut page = ZEROES;
            for begin in (0..PAGE).step_by(piece) {
                let from = match random.below(between.len() + 4) {
                    0 | 1 => durable,
                    2 | 3 => seen,
                    nth => between[nth - 4],
                };
                page[begin..begin + piece].copy_from_slice(&bytes_of(from)[begin..begin + piece]);
            }
            content.set(at, page_of(&page));
        }
        self.with_flight(content, random)
    }
}

/// Names a [`Node`], or a directory below the root.
type Id = u64;

#[derive(Clone, Debug)]
enum NameOp {
    Link(String, Id),
    Unlink(String),
    Rename(String, String, Id),
}

#[derive(Clone, Default)]
struct Dir {
    durable: BTreeMap<String, Id>,
    seen: BTreeMap<String, Id>,
    /// What led from the one to the other.
    pending: Vec<NameOp>,
    since: u64,
}

impl Dir {
    fn see(&mut self, now: BTreeMap<String, Id>) {
        if now == self.seen {
            return;
        }
        let gone: BTreeMap<Id, String> = self
            .seen
            .iter()
            .filter(|(name, id)| now.get(*name) != Some(id))
            .map(|(name, id)| (*id, name.clone()))
            .collect();
        let mut moved = BTreeSet::new();
        for (name, id) in now.iter().filter(|(name, id)| self.seen.get(*name) != Some(id)) {
            match gone.get(id) {
                Some(from) => {
                    moved.insert(from.clone());
                    self.pending.push(NameOp::Rename(from.clone(), name.clone(), *id));
                }
                None => self.pending.push(NameOp::Link(name.clone(), *id)),
            }
        }
        for name in gone.values() {
            if !moved.contains(name) && !now.contains_key(name) {
                self.pending.push(NameOp::Unlink(name.clone()));
            }
        }
        self.seen = now;
    }

    fn promote(&mut self, names: BTreeMap<String, Id>, then: u64) {
        if then < self.since {
            return;
        }
        self.since = then;
        self.pending.clear();
        self.durable = names;
        if self.durable != self.seen {
            // What came while it was synced.
            let now = std::mem::replace(&mut self.seen, self.durable.clone());
            self.see(now);
        }
    }

    fn after_failure(&self, random: &mut Random) -> BTreeMap<String, Id> {
        let mut names = self.durable.clone();
        let kind = random.below(4);
        for op in &self.pending {
            let done = match kind {
                0 => false,
                1 => true,
                _ => random.one_in(2),
            };
            if !done {
                continue;
            }
            match op {
                NameOp::Link(name, id) => {
                    names.insert(name.clone(), *id);
                }
                NameOp::Unlink(name) => {
                    names.remove(name);
                }
                NameOp::Rename(from, to, id) => {
                    if names.get(from) == Some(id) {
                        names.remove(from);
                    }
                    names.insert(to.clone(), *id);
                }
            }
        }
        names
    }
}

/// The directories that are watched, below the root, each behind the one that it is in. Those of objects are of the objects
/// that a run has.
pub(super) const DIRS: [&str; 5] = ["journal", "t", "t/01", "t/02", "t/03"];
/// Files in it are seen by the calls that write them; others are read.
const JOURNAL: &str = DIRS[0];

/// Where a watched directory is named: in the root, or in another one; and how.
fn place(dir: &'static str) -> (Option<&'static str>, &'static str) {
    match dir.rsplit_once('/') {
        Some((above, name)) => (Some(above), name),
        None => (None, dir),
    }
}

/// True for the id of a watched directory.
fn is_dir(id: Id) -> bool {
    id < DIRS.len() as Id
}

/// A data directory, and what of it is durable.
pub(super) struct Shadow {
    root: PathBuf,
    nodes: BTreeMap<Id, Node>,
    dirs: BTreeMap<&'static str, Dir>,
    /// Of the directories in the root.
    top: Dir,
    last_id: Id,
    /// Counts snapshots and synced writes.
    now: u64,
    /// Files that exist, by inode and time of birth.
    known: HashMap<(u64, Option<std::time::SystemTime>), Id>,
}

/// What a sync is going to make durable when it succeeds, and since when it is under way.
pub(super) struct Syncing(u64, What);

enum What {
    File(Id, Content),
    Dir(Option<&'static str>, BTreeMap<String, Id>),
    All(Vec<(Id, Content)>, Vec<(Option<&'static str>, BTreeMap<String, Id>)>),
    /// Nothing that is watched.
    Nothing,
}

impl Shadow {
    /// Of a directory that is empty, and durable.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            nodes: BTreeMap::new(),
            dirs: DIRS.iter().map(|dir| (*dir, Dir::default())).collect(),
            top: Dir::default(),
            last_id: 1000,
            now: 0,
            known: HashMap::new(),
        }
    }

    fn id_of(&mut self, metadata: &fs::Metadata) -> Id {
        let key = (metadata.ino(), metadata.created().ok());
        *self.known.entry(key).or_insert_with(|| {
            self.last_id += 1;
            self.last_id
        })
    }

    /// The directory of a path, by its name below the root.
    fn dir_of(&self, path: &Path) -> Option<&'static str> {
        let parent = path.parent()?;
        DIRS.into_iter().find(|dir| self.root.join(dir) == parent)
    }

    fn see_names(&mut self) {
        let mut seen: BTreeMap<Option<&str>, BTreeMap<String, Id>> = BTreeMap::new();
        for (nth, dir) in DIRS.into_iter().enumerate() {
            let mut now = BTreeMap::new();
            if let Ok(entries) = fs::read_dir(self.root.join(dir)) {
                let (above, name) = place(dir);
                seen.entry(above).or_default().insert(name.to_owned(), nth as Id);
                for entry in entries.flatten() {
                    if let Ok(metadata) = entry.metadata()
                        && !metadata.is_dir()
                    {
                        let id = self.id_of(&metadata);
                        now.insert(entry.file_name().into_string().unwrap(), id);
                    }
                }
            }
            seen.entry(Some(dir)).or_default().append(&mut now);
        }
        for (dir, now) in seen {
            match dir {
                Some(dir) => self.dirs.get_mut(dir).unwrap().see(now),
                None => self.top.see(now),
            }
        }
    }

    /// Looks at everything as it is now.
    pub(super) fn see_all(&mut self) {
        self.see_names();
        for (dir, names) in &self.dirs {
            for (name, id) in names.seen.iter().filter(|(_, id)| !is_dir(**id)) {
                let path = self.root.join(dir).join(name);
                let node = self.nodes.entry(*id).or_default();
                if *dir == JOURNAL {
                    if let Ok(metadata) = fs::metadata(&path) {
                        node.see_length(metadata.len());
                    }
                } else if let Ok(bytes) = fs::read(&path) {
                    node.see(&bytes);
                }
            }
        }
    }

    fn node_at(&mut self, path: &Path) -> Option<(Id, &mut Node)> {
        let metadata = fs::metadata(path).ok()?;
        let id = self.id_of(&metadata);
        Some((id, self.nodes.entry(id).or_default()))
    }

    /// A file was written to, or made anew.
    pub(super) fn see_file(&mut self, path: &Path) {
        if self.dir_of(path) != Some(JOURNAL) {
            return;
        }
        let Ok(bytes) = fs::read(path) else { return };
        if let Some((_, node)) = self.node_at(path) {
            node.see(&bytes);
        }
    }

    /// A piece of a file is being written.
    pub(super) fn see_write(&mut self, path: &Path, at: u64, bytes: &[u8]) {
        if let Some((_, node)) = self.node_at(path) {
            node.see_piece(at, bytes);
            node.in_flight = (at as usize / PAGE..(at as usize + bytes.len()).div_ceil(PAGE)).collect();
        }
    }

    /// The write has failed: the page cache holds it as if it were clean, and no later sync writes it.
    pub(super) fn stick(&mut self, path: &Path, at: u64, bytes: usize) {
        if let Some((_, node)) = self.node_at(path) {
            node.in_flight.clear();
            for page in at as usize / PAGE..(at as usize + bytes).div_ceil(PAGE) {
                node.stuck.insert(page, node.seen.page(page).clone());
                // The disk has seen nothing of it.
                node.between.retain(|(at, _)| *at != page);
            }
        }
    }

    /// It has been written, and is durable.
    pub(super) fn written(&mut self, path: &Path, at: u64, bytes: usize) {
        self.now += 1;
        let now = self.now;
        if let Some((_, node)) = self.node_at(path) {
            node.in_flight.clear();
            node.promote_piece(at, bytes, now);
        }
    }

    fn begins(&mut self, what: What) -> Syncing {
        self.now += 1;
        Syncing(self.now, what)
    }

    /// A sync of everything has failed.
    pub(super) fn fail_sync(&mut self) {
        self.see_all();
        self.nodes.values_mut().for_each(Node::fail_sync);
    }

    pub(super) fn sync_file(&mut self, path: &Path) -> Syncing {
        self.see_all();
        let what = match self.node_at(path) {
            Some((id, node)) => What::File(id, node.seen.clone()),
            None => What::Nothing,
        };
        self.begins(what)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> Syncing {
        self.see_names();
        let dir = DIRS.into_iter().find(|dir| self.root.join(dir) == path);
        let what = match dir {
            _ if path == self.root => What::Dir(None, self.top.seen.clone()),
            Some(dir) => What::Dir(Some(dir), self.dirs[dir].seen.clone()),
            None => What::Nothing,
        };
        self.begins(what)
    }

    pub(super) fn sync_all(&mut self) -> Syncing {
        self.see_all();
        let mut dirs: Vec<_> = self
            .dirs
            .iter()
            .map(|(name, dir)| (Some(*name), dir.seen.clone()))
            .collect();
        dirs.push((None, self.top.seen.clone()));
        let files = self.nodes.iter().map(|(id, node)| (*id, node.seen.clone())).collect();
        self.begins(What::All(files, dirs))
    }

    pub(super) fn synced(&mut self, Syncing(then, what): Syncing) {
        match what {
            What::Nothing => {}
            What::File(id, content) => self.nodes.entry(id).or_default().promote(content, then),
            What::Dir(name, names) => self.promote_dir(name, names, then),
            What::All(files, dirs) => {
                for (id, content) in files {
                    self.nodes.entry(id).or_default().promote(content, then);
                }
                for (name, names) in dirs {
                    self.promote_dir(name, names, then);
                }
            }
        }
    }

    fn promote_dir(&mut self, name: Option<&'static str>, names: BTreeMap<String, Id>, then: u64) {
        match name {
            Some(name) => self.dirs.get_mut(name).unwrap().promote(names, then),
            None => self.top.promote(names, then),
        }
    }

    /// What a kill leaves: everything as it is, and as little of it durable.
    pub(super) fn killed(&mut self) -> Left {
        self.see_all();
        let mut dirs = BTreeMap::new();
        for dir in DIRS {
            if is_named(dir, &self.top.seen, &dirs) {
                dirs.insert(dir, self.dirs[dir].seen.clone());
            }
        }
        for node in self.nodes.values_mut() {
            node.in_flight.clear();
        }
        Left {
            files: self.nodes.iter().map(|(id, node)| (*id, node.seen.clone())).collect(),
            dirs,
            shadow: Some((self.nodes.clone(), self.dirs.clone(), self.top.clone())),
            last_id: self.last_id,
            now: self.now,
        }
    }

    /// What a power failure may leave.
    pub(super) fn failed(&mut self, random: &mut Random) -> Left {
        self.see_all();
        let top = self.top.after_failure(random);
        let mut dirs = BTreeMap::new();
        for dir in DIRS {
            if is_named(dir, &top, &dirs) {
                dirs.insert(dir, self.dirs[dir].after_failure(random));
            }
        }
        let named: BTreeSet<Id> = dirs
            .values()
            .flat_map(|names: &BTreeMap<_, _>| names.values().copied())
            .filter(|id| !is_dir(*id))
            .collect();
        let files = named
            .into_iter()
            .map(|id| {
                (
                    id,
                    self.nodes
                        .get(&id)
                        .map_or_else(Content::default, |node| node.after_failure(random)),
                )
            })
            .collect();
        Left {
            files,
            dirs,
            shadow: None,
            last_id: self.last_id,
            now: self.now,
        }
    }
}

type Names = BTreeMap<String, Id>;

/// True if the directory has a name among those that are left.
fn is_named(dir: &'static str, top: &Names, dirs: &BTreeMap<&'static str, Names>) -> bool {
    let (above, name) = place(dir);
    match above {
        None => top.contains_key(name),
        Some(above) => dirs.get(above).is_some_and(|names| names.contains_key(name)),
    }
}

/// Files, the directories that are watched, and the one that holds them.
type Undurable = (BTreeMap<Id, Node>, BTreeMap<&'static str, Dir>, Dir);

/// What is left of a directory.
#[derive(Clone)]
pub(super) struct Left {
    files: BTreeMap<Id, Content>,
    dirs: BTreeMap<&'static str, Names>,
    /// What of it was not durable; none if all of it is.
    shadow: Option<Undurable>,
    last_id: Id,
    now: u64,
}

impl Left {
    /// The first of the names in a directory that end so is lost; false if there are fewer than two, or more may come back.
    pub(super) fn lose_oldest(&mut self, dir: &str, end: &str) -> bool {
        let Some(names) = self.dirs.get_mut(dir).filter(|_| self.shadow.is_none()) else {
            return false;
        };
        let found: Vec<_> = names.keys().filter(|name| name.ends_with(end)).cloned().collect();
        match found.len() {
            0 | 1 => false,
            _ => names.remove(&found[0]).is_some(),
        }
    }

    /// Writes it to a new place, and answers what is known of it there.
    pub(super) fn restore(self, root: &Path) -> Shadow {
        let mut shadow = Shadow::new(root);
        (shadow.last_id, shadow.now) = (self.last_id, self.now);
        for (dir, names) in &self.dirs {
            fs::create_dir(root.join(dir)).unwrap();
            for (name, id) in names.iter().filter(|(_, id)| !is_dir(**id)) {
                let path = root.join(dir).join(name);
                self.files[id].write(&path);
                let metadata = fs::metadata(&path).unwrap();
                shadow.known.insert((metadata.ino(), metadata.created().ok()), *id);
            }
        }
        if let Some((nodes, dirs, top)) = self.shadow {
            (shadow.nodes, shadow.dirs, shadow.top) = (nodes, dirs, top);
            return shadow;
        }
        for (id, content) in self.files {
            let node = Node {
                durable: content.clone(),
                seen: content,
                ..Node::default()
            };
            shadow.nodes.insert(id, node);
        }
        for (nth, name) in DIRS.into_iter().enumerate() {
            if let Some(names) = self.dirs.get(name) {
                if place(name).0.is_none() {
                    shadow.top.durable.insert(name.to_owned(), nth as Id);
                }
                let dir = shadow.dirs.get_mut(name).unwrap();
                (dir.durable, dir.seen) = (names.clone(), names.clone());
            }
        }
        shadow.top.seen = shadow.top.durable.clone();
        shadow
    }
}
