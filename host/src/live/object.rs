//! One loaded object. Everything that decides goes through the tree under one lock, and its effects are carried out
//! before the lock is released, so that an abort has taken effect when it returns (S8).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::{mpsc, watch};

use crate::budget::Budget;
use crate::error::{CallError, Outcome};
use crate::grants::Grants;
use crate::host::HostInner;
use crate::ids::{FileId, ObjectId, ObjectName};
use crate::isolate::{self, Room};
use crate::limits::{Limits, MAILBOX_LEN_MAX};
use crate::live::index_file::IndexFile;
use crate::live::shared::Shared;
use crate::live::{Control, Ending, Mail, Stub, Work};
use crate::namespace::Namespace;
use crate::object::{
    Cause, Delivery, Epoch, IncarnationId, Kill, NodeId, Owner, Start, Stored, Tree, TreeChange, TurnChanges,
};
use crate::storage::{Announced, Committed, Copied, DbFile, Lsn, Reservation, TreeUnit, Unit, wait_settled};

/// A root facet and the tree below it, in memory while anything of it runs or anybody holds a stub of it.
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    /// What leads to the id, as soon as it is known.
    name: OnceLock<ObjectName>,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) host: Arc<HostInner>,
    /// Does not change; known without the lock.
    root: NodeId,
    pub(crate) room: Arc<Room>,
    /// Memories and tables of what runs of it.
    memory: Arc<Budget>,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) tree: Tree,
    pub(super) running: HashMap<IncarnationId, Running>,
    index: IndexFile,
    shared: Shared,
    /// The host stops: nothing is started any more.
    stopped: bool,
}

/// What one unit does to an object's files.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) members: Vec<Committed>,
    /// Copies that are going to be made.
    pub(super) copying: Vec<Announced>,
    /// Copies that were made.
    pub(super) copied: Vec<Copied>,
    pub(super) tree: Vec<TreeChange>,
    /// Databases that are gone.
    pub(super) removed: Vec<FileId>,
    /// Room in the journal that was set aside for `tree`.
    pub(super) room: Vec<Reservation>,
}

/// What the object keeps of an incarnation until its store and database are closed.
pub(super) struct Running {
    pub(super) control: Arc<Control>,
    mailbox: mpsc::Sender<Mail>,
}

/// What an incarnation is started with.
pub(crate) struct Launched {
    pub(crate) stored: Stored,
    pub(crate) limits: Limits,
    /// What it takes its memory from.
    pub(crate) memory: Arc<Budget>,
    /// What bounds its storage beside its own limit.
    pub(crate) storage: Option<Arc<Budget>>,
    pub(crate) grants: Grants,
    pub(crate) file: DbFile,
}

impl Object {
    pub(super) fn new(
        host: Arc<HostInner>,
        namespace: Arc<Namespace>,
        id: ObjectId,
        tree: Tree,
        index: IndexFile,
    ) -> Self {
        let root = tree.root();
        let inner = Mutex::new(Inner {
            index,
            shared: Shared::default(),
            tree,
            running: HashMap::new(),
            stopped: false,
        });
        let limits = &namespace.tree_limits;
        let room = Room::within(&namespace.room, "its object", limits.running);
        let memory = Budget::new("its object", limits.memory_bytes, Some(namespace.memory.clone()));
        Self {
            id,
            name: OnceLock::new(),
            namespace,
            host,
            root,
            room,
            memory,
            inner,
        }
    }

    /// Somebody has used its name, which its next record says unless one has said it.
    pub(crate) fn is_called(&self, name: &ObjectName) {
        // One id has one name; nobody finds two that have one id.
        self.name.get_or_init(|| name.clone());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("a panic under this lock is a bug that must not be built upon")
    }

    /// A decision about the tree, carried out before this returns.
    pub(crate) fn decide<R>(&self, decide: impl FnOnce(&mut Tree, &mut Vec<Kill>) -> R) -> R {
        let mut inner = self.lock();
        let mut kills = Vec::new();
        let result = decide(&mut inner.tree, &mut kills);
        inner.carry_out(kills);
        result
    }

    /// The same for a facet. None if it has been ended: an abort that has returned is not followed by what it decides (S8).
    pub(crate) fn decide_for<R>(
        &self,
        control: &Control,
        decide: impl FnOnce(&mut Tree, &mut Vec<Kill>) -> R,
    ) -> Option<R> {
        let mut inner = self.lock();
        if control.is_dead() {
            return None;
        }
        let mut kills = Vec::new();
        let result = decide(&mut inner.tree, &mut kills);
        inner.carry_out(kills);
        Some(result)
    }

    pub(crate) fn root(&self) -> NodeId {
        self.root
    }

    /// The facet of this tree that a stub leads to.
    pub(crate) fn within(&self, stub: &Stub) -> Option<NodeId> {
        match stub {
            Stub::Facet(target) => Some(target.node),
            Stub::Object { id, namespace, .. } => {
                let own = *id == self.id && namespace.name == self.namespace.name;
                own.then_some(self.root)
            }
        }
    }

    pub(crate) fn db_file(&self, file: FileId) -> DbFile {
        DbFile {
            dir: self.namespace.dir.clone(),
            object: self.id,
            file,
        }
    }

    /// Whose database has that file.
    pub(crate) fn owner(&self, file: FileId) -> Owner {
        self.lock().tree.owner(file)
    }

    /// Records a commit that is the host's own, made after the facet has stopped. None if the facet has been deleted: then
    /// its file goes as it is.
    pub(crate) fn record_alone(self: &Arc<Self>, committed: Committed) -> Option<Lsn> {
        let mut inner = self.lock();
        match inner.tree.owner(committed.file.file) {
            Owner::Nobody => None,
            Owner::Facet(_) | Owner::Leaving => {
                let changes = Changes {
                    members: vec![committed],
                    ..Changes::default()
                };
                Some(self.record(&mut inner, changes))
            }
        }
    }

    /// Says that copies are going to be made of what is committed now.
    pub(super) fn announce(self: &Arc<Self>, copying: Vec<Announced>, room: Reservation) -> Lsn {
        let changes = Changes {
            copying,
            room: vec![room],
            ..Changes::default()
        };
        self.record(&mut self.lock(), changes)
    }

    /// Puts an event into the facet's mailbox and starts the facet if need be. Answers the epoch it was delivered in.
    #[allow(clippy::result_large_err, reason = "who is refused gets the mail back, to answer it")]
    pub(crate) fn deliver(
        self: &Arc<Self>,
        node: NodeId,
        epoch: Option<&Arc<Epoch>>,
        mail: Mail,
    ) -> Result<Arc<Epoch>, (CallError, Mail)> {
        self.lock().deliver(self, node, epoch, mail)
    }

    /// The epoch of a facet: why what it was asked is not answered.
    pub(crate) fn epoch(&self, node: NodeId) -> Option<Arc<Epoch>> {
        self.lock().tree.epoch(node)
    }

    /// What the incarnation is started with, once those before it are gone.
    pub(crate) fn launch(&self, control: &Control) -> Option<Launched> {
        let mut inner = self.lock();
        let stored = inner.tree.launch(control.incarnation)?;
        let lineage = inner.tree.lineage(control.node);
        let Inner { tree, shared, .. } = &mut *inner;
        let memory = shared.memory(&lineage, &self.memory);
        let storage = shared.storage(self, tree, &lineage, self.namespace.tree_limits.storage_bytes);
        drop(inner);
        let limits = stored
            .lineage
            .iter()
            .fold(self.namespace.limits, |limits, s| limits.lowered(&s.limits));
        let grants = Grants::of(&stored.lineage, &self.namespace.egress_hosts, &self.namespace.withheld);
        let file = self.db_file(stored.file);
        Some(Launched {
            stored,
            limits,
            memory,
            storage,
            grants,
            file,
        })
    }

    /// Ends an incarnation that has nothing to do. False if there is mail, or it was killed meanwhile.
    pub(crate) fn retire_idle(&self, control: &Control, mailbox: &mpsc::Receiver<Mail>) -> bool {
        let mut inner = self.lock();
        mailbox.is_empty() && inner.tree.retire(control.incarnation)
    }

    /// Ends an incarnation that could not be started: it gets no more mail.
    pub(crate) fn retire_failed(&self, control: &Control) {
        self.lock().tree.retire(control.incarnation);
    }

    /// S9: the incarnation was lost by itself.
    pub(crate) fn broken(&self, control: &Control, code: &'static str, message: String) {
        self.decide(|tree, kills| tree.broken(control.incarnation, Cause::Broken { code, message }, kills));
    }

    /// A turn was lost: storage is as if it had not been.
    pub(crate) fn undo(self: &Arc<Self>, changes: TurnChanges) {
        if changes.is_empty() {
            return;
        }
        let mut inner = self.lock();
        let mut kills = Vec::new();
        let removed = inner.tree.undo(changes, &mut kills);
        inner.carry_out(kills);
        inner.recount(self);
        if !removed.is_empty() {
            let changes = Changes {
                removed,
                ..Changes::default()
            };
            self.record(&mut inner, changes);
        }
    }

    /// Nothing is stored in the facet's database, which is closed. Answers the unit that says so: the incarnation is not
    /// gone before its files are.
    pub(crate) fn emptied(self: &Arc<Self>, file: FileId) -> Option<Lsn> {
        let mut inner = self.lock();
        // None: it was deleted meanwhile.
        let tree = inner.tree.now_empty(file)?;
        let mut changes = Changes {
            removed: vec![file],
            ..Changes::default()
        };
        let lsn = match inner.index.exists && inner.tree.needs_no_index() {
            // The file goes, whatever would have been said in it.
            true => {
                inner.index.remove();
                self.queue(TreeUnit::Removed, changes)
            }
            false => {
                changes.tree = tree;
                self.record(&mut inner, changes)
            }
        };
        inner.recount(self);
        Some(lsn)
    }

    /// S12: an index of nothing goes. Answers the unit that says so.
    fn drop_index(self: &Arc<Self>, inner: &mut Inner) -> Option<Lsn> {
        if !inner.index.exists || !inner.tree.needs_no_index() {
            return None;
        }
        inner.index.remove();
        Some(self.queue(TreeUnit::Removed, Changes::default()))
    }

    /// Store and database of the incarnation are closed.
    pub(crate) fn gone(self: &Arc<Self>, control: &Control) {
        let mut inner = self.lock();
        inner.tree.gone(control.incarnation);
        inner.running.remove(&control.incarnation);
        // Here and not when the last child is deleted, which may be made anew at once.
        self.drop_index(&mut inner);
        control.set_gone();
    }

    /// Queues one unit for the journal. Under the lock, so that records of the tree are queued in their order.
    pub(super) fn record(self: &Arc<Self>, inner: &mut Inner, mut changes: Changes) -> Lsn {
        let Inner { index, tree, .. } = inner;
        let reserve = |bytes| self.host.journal.try_reserve(bytes);
        let record = index.append(
            self.id,
            self.name.get(),
            tree,
            std::mem::take(&mut changes.tree),
            reserve,
        );
        let tree = record.map_or(TreeUnit::Unchanged, |record| {
            changes.room.extend(record.room);
            TreeUnit::Append(record.append)
        });
        self.queue(tree, changes)
    }

    fn queue(self: &Arc<Self>, tree: TreeUnit, changes: Changes) -> Lsn {
        let reads_stale = tree != TreeUnit::Unchanged || !changes.removed.is_empty();
        let alarms: Vec<_> = changes
            .members
            .iter()
            .filter_map(|member| Some((member.file.file, member.alarm?)))
            .collect();
        let removed = changes.removed.clone();
        let lsn = self.host.journal.append(Unit {
            members: changes.members,
            copying: changes.copying,
            copied: changes.copied,
            removed: changes.removed,
            tree,
            room: changes.room,
            ..Unit::of(self.namespace.dir.clone(), self.id)
        });
        self.namespace.alarms.committed(self.id, lsn, &alarms, &removed);
        if reads_stale {
            // Until then the directory shows an older tree: this object must not be loaded a second time.
            let object = self.clone();
            self.host.runtime.spawn(async move {
                wait_settled(object.host.journal.progress(), object.id, lsn).await;
            });
        }
        lsn
    }

    /// Ends everything that runs, and starts nothing any more. Answers who has to be waited for: all of a host's objects
    /// close their databases at the same time.
    pub(crate) fn stop(&self) -> Vec<watch::Receiver<bool>> {
        let mut inner = self.lock();
        let mut kills = Vec::new();
        inner.stopped = true;
        inner.tree.end_all(Cause::Unavailable, &mut kills);
        inner.carry_out(kills);
        inner.running.values().map(|r| r.control.gone()).collect()
    }
}

impl Inner {
    /// The tree's shape or what is stored in it has changed.
    pub(super) fn recount(&mut self, object: &Object) {
        self.shared.recount(object, &self.tree);
    }

    /// A facet has committed.
    pub(super) fn count(&mut self, object: &Object, control: &Control, file: FileId, is_new: bool) {
        let bytes = control.storage_bytes.load(Ordering::Relaxed);
        let budget = control.storage_budget.get().and_then(Option::as_deref);
        self.shared.committed(object, file, (is_new, bytes), budget);
    }

    pub(super) fn carry_out(&mut self, kills: Vec<Kill>) {
        for Kill { incarnation, cause } in kills {
            if let Some(running) = self.running.get(&incarnation) {
                running.control.end(Ending::Killed(cause));
            }
        }
    }

    #[allow(clippy::result_large_err, reason = "who is refused gets the mail back, to answer it")]
    pub(super) fn deliver(
        &mut self,
        object: &Arc<Object>,
        node: NodeId,
        epoch: Option<&Arc<Epoch>>,
        mail: Mail,
    ) -> Result<Arc<Epoch>, (CallError, Mail)> {
        if self.stopped {
            return Err((Cause::Unavailable.error(Outcome::NotApplied), mail));
        }
        let incarnation = match self.tree.deliver(node, epoch) {
            Delivery::Ended(cause) => return Err((cause.error(Outcome::NotApplied), mail)),
            Delivery::To(incarnation) => incarnation,
            Delivery::Start(start) => {
                let incarnation = start.incarnation;
                self.start(object, start);
                incarnation
            }
        };
        let running = self
            .running
            .get(&incarnation)
            .expect("an incarnation is in `running` as long as it is in the tree");
        match running.mailbox.try_send(mail) {
            Ok(()) => Ok(self.tree.epoch(node).expect("the tree has just found that node")),
            Err(mpsc::error::TrySendError::Full(mail)) => {
                let message = format!("{MAILBOX_LEN_MAX} events wait for this facet already; try again later");
                Err((CallError::limit("mailbox", message), mail))
            }
            Err(mpsc::error::TrySendError::Closed(mail)) => Err((Cause::Unavailable.error(Outcome::NotApplied), mail)),
        }
    }

    fn start(&mut self, object: &Arc<Object>, start: Start) {
        let (mailbox, inbox) = mpsc::channel(MAILBOX_LEN_MAX);
        let control = Control::new(
            start.incarnation,
            start.node,
            object.namespace.idle_evict_ms,
            &object.host.runtime,
        );
        let after = start
            .after
            .iter()
            .filter_map(|i| self.running.get(i))
            .map(|r| r.control.gone())
            .collect();
        self.running.insert(
            start.incarnation,
            Running {
                control: control.clone(),
                mailbox: mailbox.clone(),
            },
        );
        isolate::spawn(object.clone(), control, start.epoch, inbox, mailbox, after);
    }

    /// Lets a facet's successor wait for whoever has borrowed its files.
    pub(super) fn hold(&mut self, borrow: IncarnationId, control: Arc<Control>) {
        self.running.insert(
            borrow,
            Running {
                control,
                mailbox: mpsc::channel(1).0,
            },
        );
    }

    /// The control of a facet that runs.
    pub(super) fn control(&self, incarnation: IncarnationId) -> Option<&Arc<Control>> {
        self.running.get(&incarnation).map(|r| &r.control)
    }
}

impl From<TreeChange> for crate::index::TreeChange {
    fn from(change: TreeChange) -> Self {
        match change {
            TreeChange::Create {
                file,
                parent,
                name,
                startup,
                has_database,
            } => Self::Create {
                file,
                parent,
                name,
                startup,
                has_database,
            },
            TreeChange::Store { file } => Self::Store { file },
            TreeChange::Empty { file } => Self::Empty { file },
            TreeChange::Restart { file, startup } => Self::Restart { file, startup },
            TreeChange::Delete { file } => Self::Delete { file },
        }
    }
}

/// An event that could not be delivered is answered with the reason.
pub(crate) fn refuse((error, mail): (CallError, Mail)) {
    match mail {
        Mail::Event { work, dep, .. } => Work::fail(work, error, dep),
        Mail::Evict => {}
    }
}
