//! A host: one data directory, one engine, any number of objects. Nothing leaves it before it is durable.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::watch;
use wasmtime::Engine;

use crate::alarms::Alarms;
use crate::budget::Budget;
use crate::classes::{ClassError, Registry};
use crate::config::Config;
use crate::egress;
use crate::error::{CallError, Kind, Outcome};
use crate::ids::{FacetName, ObjectId, ObjectName};
use crate::isolate::{Lane, Room, Watchdog, new_engine, uninterruptible_engine};
use crate::live::{Answer, Chain, Delivered, HttpRequest, HttpResponse, Mail, Object, ReplyTo, Report, Stub, Work};
use crate::namespace::Namespace;
use crate::object::{Cause, Epoch};
use crate::offline::LeftOvers;
use crate::startup::Payload;
use crate::storage::{
    Disk, Durability, Journal, JournalOptions, Lsn, Pins, Recovering, TableDump, remove_strange_logs, wait_durable,
};
use crate::sys::data_dir::{DataDir, DataDirError, Place};
use crate::sys::machine;

/// Why a host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A component that is not there.
    #[error("class {name:?}: cannot read {path}: {error}; if it is to be built, run `facetd build` first")]
    Component {
        /// Of the class.
        name: String,
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A component that cannot be a class.
    #[error("class {name:?} ({path}): {error}")]
    Class {
        /// Of the class.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// Why.
        error: ClassError,
    },
    /// What an unclean stop left.
    #[error("cannot recover from an unclean stop: {0}")]
    Recover(String),
    /// Anything of the operating system or of wasmtime.
    #[error("{0}")]
    Start(String),
}

/// Which object of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectRef {
    /// By name.
    Name(String),
    /// By id: 64 hexadecimal digits.
    Id(String),
}

impl ObjectRef {
    /// As in paths and on the command line: `id:<64 hex>`, or a name.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("id:") {
            Some(id) => Self::Id(id.into()),
            None => Self::Name(text.into()),
        }
    }
}

/// A running host. Dropping it does not stop it: call [`Host::stop`].
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    pub(crate) engine: Engine,
    /// See the configuration.
    pub(crate) limits_off: bool,
    pub(crate) classes: Registry,
    pub(crate) egress: egress::Client,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) disk: Disk,
    durability: watch::Receiver<Durability>,
    pub(crate) watchdog: Arc<Watchdog>,
    pub(crate) runtime: Handle,
    /// For facets that compute.
    pub(crate) lane: Arc<Lane>,
    namespaces: HashMap<String, Arc<Namespace>>,
    objects: Mutex<Objects>,
    /// True from the beginning of the stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// Where everything is.
    pub(crate) place: Place,
    data: DataDir,
    /// Removes what a killed host left, if there was one; waited for by a clean stop.
    tidying: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Objects {
    loaded: HashMap<(String, ObjectId), Weak<Object>>,
    /// How many were loaded when the dead ones were last swept out.
    swept: usize,
    stopping: bool,
}

/// Loaded objects below which sweeping is not worth it.
const SWEEP_MIN: usize = 1024;

/// A host that is being opened: the data directory is its own, and nothing of it was looked at.
pub struct Opening {
    data: DataDir,
    egress: egress::Client,
    config: Config,
    recovering: Arc<Recovering>,
}

impl Opening {
    /// Takes the data directory.
    pub fn new(config: &Config, data: &Path) -> Result<Self, HostError> {
        let egress = egress::Client::new(config.egress_roots().as_deref()).map_err(|error| {
            HostError::Start(format!(
                "`egress_roots` of [host] should be a file of certificates, PEM: {error}"
            ))
        })?;
        // Before anything uses SQLite.
        crate::storage::bound_sqlite_memory();
        Ok(Self {
            data: DataDir::open(data)?,
            egress,
            config: config.clone(),
            recovering: Arc::default(),
        })
    }

    /// How far it is.
    pub(crate) fn recovering(&self) -> Arc<Recovering> {
        self.recovering.clone()
    }

    /// Leaves the directory as it was found.
    pub fn abandon(self) -> Result<(), HostError> {
        match self.data.was_dirty {
            true => Ok(()),
            false => self
                .data
                .clean_stop()
                .map_err(|error| HostError::Start(error.to_string())),
        }
    }

    /// Recovers, and readies the classes and namespaces of the configuration. Takes as long as that takes; must be called on a
    /// multi-threaded tokio runtime, on which the host then runs.
    pub fn finish(self) -> Result<Host, HostError> {
        let Self {
            data,
            egress,
            config,
            recovering,
        } = self;
        let config = &config;
        let start = |error: &dyn std::fmt::Display| HostError::Start(error.to_string());
        let options = JournalOptions {
            recovering,
            ..JournalOptions::of_environment()
        };
        let (journal, _) = crate::offline::open_journal(&data, &options, LeftOvers::Stay).map_err(|error| {
            if data.was_dirty {
                return HostError::Recover(error.to_string());
            }
            // There was nothing to be recovered, and there is not now.
            let _ = data.clean_stop();
            HostError::Start(error.to_string())
        })?;
        let journal: Arc<dyn Journal> = Arc::new(journal);
        let engine = match config.limits_off {
            true => uninterruptible_engine(),
            false => new_engine(),
        };
        let engine = engine.map_err(|e| start(&e))?;
        let mut classes = Registry::open(engine.clone(), data.classes(), &data.cache(), config.compiler.as_ref())
            .map_err(|e| start(&e))?;
        for (name, class) in &config.classes {
            let path = config.component(name, class);
            let bytes = std::fs::read(&path).map_err(|error| HostError::Component {
                name: name.clone(),
                path: path.clone(),
                error,
            })?;
            let digest = classes.store(&bytes).map_err(|error| HostError::Class {
                name: name.clone(),
                path,
                error,
            })?;
            classes.name(name.clone(), digest);
        }
        let room = Arc::new(Room::of_this_process(config.host.running_facets_max));
        let memory_bytes = match config.host.memory_mib {
            Some(mib) => mib.saturating_mul(1 << 20),
            None => machine::memory_bytes() / 4 * 3,
        };
        let memory = Budget::new("this host", memory_bytes, None);
        let mut namespaces = HashMap::new();
        for (name, namespace) in &config.namespaces {
            let dir = data.namespace(name).map_err(|e| start(&e))?;
            let class = classes
                .named(&namespace.class)
                .expect("the configuration has been checked");
            let key = namespace.unique_key.as_deref().unwrap_or(name);
            let limits = (namespace.limits.limits(), namespace.tree_limits(room.max()));
            let all = namespace.all_limits(room.max(), config.namespaces.len());
            let room = Room::within(&room, "its namespace", all.running);
            let memory = Budget::new("its namespace", all.memory_bytes, Some(memory.clone()));
            let objects = namespace.objects.clone();
            let alarms = Alarms::open(&dir, journal.followers()).map_err(|e| start(&e))?;
            let idle_evict_ms = namespace.idle_evict_ms();
            let (hosts, private) = namespace
                .egress
                .rules()
                .map_err(|error| HostError::Start(format!("[namespaces.{name}.egress]: {error}")))?;
            let made = Namespace::new(
                name,
                key,
                class,
                limits,
                room,
                memory,
                idle_evict_ms,
                objects,
                dir.into(),
                alarms,
            )
            .with_egress(hosts, private)
            .with_classes(namespace.classes_bytes_max())
            .without(namespace.withhold.clone());
            namespaces.insert(name.clone(), Arc::new(made));
        }
        let tidying = match data.was_dirty {
            true => Some(tidy(&data, journal.pins()).map_err(|e| start(&e))?),
            false => None,
        };
        let inner = HostInner {
            tidying: Mutex::new(tidying),
            watchdog: Watchdog::start(engine.clone()).map_err(|e| start(&e))?,
            engine,
            limits_off: config.limits_off,
            classes,
            egress,
            durability: journal.progress().durability(),
            disk: options.disk,
            journal,
            runtime: Handle::current(),
            lane: Lane::new(&Handle::current()),
            namespaces,
            objects: Mutex::default(),
            stopping: watch::channel(false).0,
            place: data.place(),
            data,
        };
        let inner = Arc::new(inner);
        crate::alarms::serve(&inner, inner.namespaces.values());
        Ok(Host { inner })
    }
}

impl Host {
    /// Opens a data directory and readies the classes and namespaces of a configuration, see [`Opening::finish`].
    pub fn open(config: &Config, data: &Path) -> Result<Self, HostError> {
        Opening::new(config, data)?.finish()
    }

    /// Calls a method of an object's root facet.
    pub async fn call(
        &self,
        namespace: &str,
        object: &ObjectRef,
        method: &str,
        args: Payload,
    ) -> Result<Payload, CallError> {
        crate::isolate::check_payload(&args)?;
        let (reply, answered) = ReplyTo::new();
        let work = Work::Call {
            method: method.into(),
            args,
            stubs: Vec::new(),
            badge: "".into(),
            reply,
        };
        let epoch = self.deliver(namespace, object, work)?;
        self.inner.outside(answered, &epoch).await.map(|answer| answer.value)
    }

    /// Delivers a request to the `http` export of an object's root facet.
    pub(crate) async fn request(
        &self,
        namespace: &str,
        object: &ObjectRef,
        request: HttpRequest,
    ) -> Result<HttpResponse, CallError> {
        let (reply, answered) = ReplyTo::new();
        let epoch = self.deliver(namespace, object, Work::Http { request, reply })?;
        self.inner.reply(answered, &epoch).await
    }

    fn deliver(&self, namespace: &str, object: &ObjectRef, work: Work) -> Result<Arc<Epoch>, CallError> {
        let object = self.object(namespace, object)?;
        let mail = Mail::Event {
            work,
            chain: Chain::default(),
            deadline: None,
            dep: Lsn::ZERO,
        };
        object.deliver(object.root(), None, mail).map_err(|(error, _)| error)
    }

    fn object(&self, namespace: &str, object: &ObjectRef) -> Result<Arc<Object>, CallError> {
        let namespace = self.inner.namespace(namespace)?;
        let (id, name) = match object {
            ObjectRef::Name(name) => {
                let (id, name) = namespace.named_object(name)?;
                (id, Some(name))
            }
            ObjectRef::Id(hex) => (namespace.id_of_hex(hex)?, None),
        };
        self.inner.object(&namespace, id, name.as_ref())
    }

    /// The id of an object and its facets that exist, the root first.
    pub fn tree(&self, namespace: &str, object: &ObjectRef) -> Result<(ObjectId, Vec<Report>), CallError> {
        let object = self.object(namespace, object)?;
        Ok((object.id, object.report(object.root())))
    }

    /// The tables of one facet, for operators.
    pub(crate) async fn rows(
        &self,
        namespace: &str,
        object: &ObjectRef,
        path: &str,
        rows_max: u32,
    ) -> Result<Vec<TableDump>, CallError> {
        let path: Vec<_> = path
            .split('/')
            .filter(|name| !name.is_empty())
            .map(FacetName::new)
            .collect::<Result<_, _>>()?;
        self.object(namespace, object)?.inspect(&path, rows_max).await
    }

    /// Alarms that are being delivered now, from the loading of their object to the end of the handler.
    pub fn alarms_under_way(&self) -> usize {
        let namespaces = self.inner.namespaces.values();
        namespaces.map(|namespace| namespace.alarms.running()).sum()
    }

    /// Names and digests of the classes of the configuration.
    pub fn classes(&self) -> Vec<(String, String)> {
        let mut names: Vec<_> = self
            .inner
            .classes
            .names()
            .map(|(name, digest)| (name.to_owned(), digest.to_string()))
            .collect();
        names.sort();
        names
    }

    /// Waits until the journal fails: the host must stop, for nothing can be acknowledged any more.
    pub async fn failed(&self) -> String {
        let mut durability = self.inner.durability.clone();
        let state = durability
            .wait_for(|state| matches!(state, Durability::Failed(_)))
            .await;
        match state.as_deref() {
            Ok(Durability::Failed(why)) => why.to_string(),
            Ok(Durability::UpTo(_)) | Err(_) => "the journal was closed".into(),
        }
    }

    /// Why the host does not do what it is there for, shortly and without a word about what is in it; the log says more.
    pub(crate) fn trouble(&self) -> Option<String> {
        if self.inner.place.is_in_place().is_err() {
            return Some("the data directory is gone".to_owned());
        }
        self.inner.journal.trouble()
    }

    /// Stops all facets, closes all databases, and leaves ordinary SQLite files behind.
    pub async fn stop(&self) -> Result<(), HostError> {
        let objects: Vec<_> = {
            let mut objects = self.inner.objects();
            objects.stopping = true;
            self.inner.stopping.send_replace(true);
            self.inner.namespaces.values().for_each(|n| n.alarms.stop());
            objects.loaded.values().filter_map(Weak::upgrade).collect()
        };
        let waits: Vec<_> = objects.iter().flat_map(|object| object.stop()).collect();
        for mut gone in waits {
            // An error means that the sender is gone, and so is the incarnation.
            let _ = gone.wait_for(|gone| *gone).await;
        }
        let inner = self.inner.clone();
        let closed = tokio::task::spawn_blocking(move || {
            inner.wait_until_tidy();
            let closed = inner.journal.close();
            inner.close_alarms();
            inner.watchdog.stop();
            match closed {
                true => inner.data.clean_stop(),
                // The next start recovers.
                false => Err(std::io::Error::other(
                    "not everything could be written to its files; the journal is kept, and the next start goes on from it",
                )),
            }
        });
        closed
            .await
            .map_err(|e| HostError::Start(e.to_string()))?
            .map_err(|e| HostError::Start(e.to_string()))
    }
}

/// Removes the logs that a killed host left in all namespaces, configured or not: its mark goes with the next clean stop.
fn tidy(data: &DataDir, pins: &Arc<Pins>) -> std::io::Result<JoinHandle<()>> {
    let (dirs, pins) = (data.namespaces()?, pins.clone());
    let thread = std::thread::Builder::new().name("facetd-tidy".to_owned());
    thread.spawn(move || {
        for dir in dirs {
            if let Err(error) = remove_strange_logs(&dir, &pins) {
                tracing::warn!(dir = %dir.display(), %error, "logs of a host that was killed are left, which nobody reads");
            }
        }
    })
}

impl HostInner {
    fn objects(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.objects
            .lock()
            .expect("a panic under this lock is a bug that must not be built upon")
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<Arc<Namespace>, CallError> {
        self.namespaces.get(name).cloned().ok_or_else(|| {
            let mut known: Vec<_> = self.namespaces.keys().map(String::as_str).collect();
            known.sort_unstable();
            CallError::not_found(format!(
                "there is no namespace {name:?} here; there are: {}",
                known.join(", ")
            ))
        })
    }

    /// The object, loaded if it is not. `name`: by which it was found, if by one.
    pub(crate) fn object(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        id: ObjectId,
        name: Option<&ObjectName>,
    ) -> Result<Arc<Object>, CallError> {
        let object = self.found_or_loaded(namespace, id)?;
        if let Some(name) = name {
            object.is_called(name);
        }
        Ok(object)
    }

    fn found_or_loaded(self: &Arc<Self>, namespace: &Arc<Namespace>, id: ObjectId) -> Result<Arc<Object>, CallError> {
        let mut objects = self.objects();
        if objects.stopping {
            return Err(Cause::Unavailable.error(Outcome::NotApplied));
        }
        let key = (namespace.name.clone(), id);
        if let Some(object) = objects.loaded.get(&key).and_then(Weak::upgrade) {
            return Ok(object);
        }
        if objects.loaded.len() > SWEEP_MIN.max(2 * objects.swept) {
            objects.loaded.retain(|_, object| object.strong_count() > 0);
            objects.swept = objects.loaded.len();
        }
        let object = Object::load(self, namespace, id).map_err(|error| {
            tracing::error!(object = %id, %error, "an object cannot be loaded");
            CallError::new(Kind::Storage, "index", error.for_guests())
        })?;
        objects.loaded.insert(key, Arc::downgrade(&object));
        Ok(object)
    }

    /// Names of files are read for it and nothing else, so it is over soon.
    fn wait_until_tidy(&self) {
        let tidying = self.tidying.lock().unwrap_or_else(PoisonError::into_inner).take();
        if tidying.is_some_and(|tidying| tidying.join().is_err()) {
            tracing::error!("the thread that removes old logs has panicked");
        }
    }

    /// What is durable by now is all that will be.
    fn close_alarms(&self) {
        let durable = self.journal.progress().durable();
        for namespace in self.namespaces.values() {
            if let Err(error) = namespace.alarms.close(durable) {
                tracing::warn!(namespace = namespace.name, %error, "the index of alarms was not closed cleanly");
            }
        }
    }

    /// Waits until the journal is durable up to a commit.
    pub(crate) async fn durable(&self, lsn: Lsn) -> Result<(), CallError> {
        if let Durability::UpTo(durable) = &*self.durability.borrow()
            && *durable >= lsn
        {
            return Ok(());
        }
        let mut durability = self.durability.clone();
        wait_durable(&mut durability, lsn)
            .await
            .map_err(|_| CallError::journal_failed())
    }

    /// An answer on its way out of its object: nothing leaves before it is durable (S20).
    pub(crate) async fn reply<T>(&self, answered: Delivered<T>, epoch: &Epoch) -> Result<T, CallError> {
        match answered.await {
            Ok(reply) => {
                self.durable(reply.dep).await?;
                reply.result
            }
            Err(_dropped) => {
                let cause = epoch.cause().cloned();
                Err(cause.as_deref().unwrap_or(&Cause::Unavailable).error(Outcome::Unknown))
            }
        }
    }

    /// The same for a call: stubs of facets stay inside (S15).
    pub(crate) async fn outside(&self, answered: Delivered<Answer>, epoch: &Epoch) -> Result<Answer, CallError> {
        let answer = self.reply(answered, epoch).await?;
        if answer.stubs.iter().any(|stub| matches!(stub, Stub::Facet(_))) {
            let message = "the answer holds a stub of a facet, which cannot leave its tree";
            return Err(CallError::new(Kind::NotTransferable, "", message).outcome(Outcome::Applied));
        }
        Ok(answer)
    }
}

impl Host {
    /// The runtime on which the host's tasks run.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// Waits until the journal is durable up to a commit.
    pub(crate) async fn durable(&self, lsn: Lsn) -> Result<(), CallError> {
        self.inner.durable(lsn).await
    }
}
