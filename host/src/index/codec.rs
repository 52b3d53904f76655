//! Changes to Cap'n Proto and back. Decoding accepts only what encoding can make: anything else is damage.

use std::sync::Arc;

use capnp::message::{Builder, Reader, ReaderOptions, ReaderSegments};
use capnp::serialize;

use super::TreeChange;
use super::facets_capnp as wire;
use crate::ids::{ClassDigest, FacetName, FileId, ObjectId, ObjectName};
use crate::startup::{FacetId, FailurePolicy, Format, Grant, Payload, Startup, StartupLimits};

pub(super) fn encode(changes: &[TreeChange]) -> Vec<u8> {
    let mut message = Builder::new_default();
    let count = u32::try_from(changes.len()).expect("a tree has at most 65,536 facets");
    let mut list = message.init_root::<wire::record::Builder<'_>>().init_changes(count);
    for (index, change) in (0..count).zip(changes) {
        let target = list.reborrow().get(index);
        match change {
            TreeChange::Create {
                file,
                parent,
                name,
                startup,
                has_database,
            } => {
                let mut create = target.init_create();
                create.set_file(file.0);
                create.set_parent(parent.0);
                create.set_name(name.as_str());
                create.set_database(*has_database);
                write_startup(create.init_startup(), startup);
            }
            TreeChange::Restart { file, startup } => {
                let mut restart = target.init_restart();
                restart.set_file(file.0);
                write_startup(restart.init_startup(), startup);
            }
            TreeChange::Delete { file } => {
                let mut target = target;
                target.set_delete(file.0);
            }
            TreeChange::Store { file } => {
                let mut target = target;
                target.set_store(file.0);
            }
            TreeChange::Empty { file } => {
                let mut target = target;
                target.set_empty(file.0);
            }
            TreeChange::Name { name } => {
                let mut target = target;
                target.set_name(name.as_str());
            }
        }
    }
    serialize::write_message_to_words(&message)
}

fn write_startup(mut target: wire::startup::Builder<'_>, startup: &Startup) {
    let Startup {
        class,
        props,
        id,
        limits,
        on_failure,
        grants,
        withheld,
    } = startup;
    target.set_class(&class.0);
    target.set_props_format(write_format(props.format));
    target.set_props(&props.body);
    let mut id_target = target.reborrow().get_id();
    match id {
        None => id_target.set_inherited(()),
        Some(FacetId::Object(object)) => id_target.set_object(&object.0),
        Some(FacetId::Text(text)) => id_target.set_text(text.as_str()),
    }
    let StartupLimits {
        memory_mib,
        cpu_ms,
        wall_ms,
        storage_mib,
        tree_memory_mib,
        tree_storage_mib,
    } = limits;
    if let Some(value) = memory_mib {
        target.reborrow().init_memory_mib().set_value(*value);
    }
    if let Some(value) = cpu_ms {
        target.reborrow().init_cpu_ms().set_value(*value);
    }
    if let Some(value) = wall_ms {
        target.reborrow().init_wall_ms().set_value(*value);
    }
    if let Some(value) = storage_mib {
        target.reborrow().init_storage_mib().set_value(*value);
    }
    if let Some(value) = tree_memory_mib {
        target.reborrow().init_tree_memory_mib().set_value(*value);
    }
    if let Some(value) = tree_storage_mib {
        target.reborrow().init_tree_storage_mib().set_value(*value);
    }
    if !grants.is_empty() {
        let count = u32::try_from(grants.len()).expect("there is one for each ability");
        let mut list = target.reborrow().init_grants(count);
        for (index, grant) in (0..count).zip(grants) {
            let mut target = list.reborrow().get(index);
            target.set_name(grant.name.as_str());
            target.set_format(write_format(grant.argument.format));
            target.set_argument(&grant.argument.body);
        }
    }
    if !withheld.is_empty() {
        let count = u32::try_from(withheld.len()).expect("there are few abilities");
        let mut list = target.reborrow().init_withheld(count);
        for (index, name) in (0..count).zip(withheld) {
            list.set(index, name.as_str());
        }
    }
    target.set_on_failure(match on_failure {
        FailurePolicy::Isolate => wire::FailurePolicy::Isolate,
        FailurePolicy::Escalate => wire::FailurePolicy::Escalate,
    });
}

fn write_format(format: Format) -> wire::Format {
    match format {
        Format::Bytes => wire::Format::Bytes,
        Format::Json => wire::Format::Json,
        Format::Cbor => wire::Format::Cbor,
    }
}

fn read_format(format: wire::Format) -> Format {
    match format {
        wire::Format::Bytes => Format::Bytes,
        wire::Format::Json => Format::Json,
        wire::Format::Cbor => Format::Cbor,
    }
}

/// What was decoded last: an index names few startups, over and over, and each of them is kept once.
#[derive(Default)]
pub(super) struct Startups {
    /// The last one first.
    recent: Vec<Arc<Startup>>,
}

impl Startups {
    /// More than that are seldom alternated; what is not found is kept twice, which costs memory and nothing else.
    const RECENT_MAX: usize = 8;

    fn shared(&mut self, startup: Startup) -> Arc<Startup> {
        match self.recent.iter().position(|known| **known == startup) {
            Some(0) => {}
            Some(at) => self.recent[..=at].rotate_right(1),
            None => {
                self.recent.truncate(Self::RECENT_MAX - 1);
                self.recent.insert(0, Arc::new(startup));
            }
        }
        self.recent[0].clone()
    }
}

pub(super) fn decode(mut body: &[u8], startups: &mut Startups) -> Result<Vec<TreeChange>, capnp::Error> {
    let mut options = ReaderOptions::new();
    // The body is in memory and its checksum is right; twice its size bounds what pointers to one place could multiply.
    options.traversal_limit_in_words(Some(body.len() / 4 + 64));
    // In a file that was read as a whole it is, and is read where it lies.
    if body.as_ptr().cast::<u64>().is_aligned() {
        return read_record(&serialize::read_message_from_flat_slice(&mut body, options)?, startups);
    }
    read_record(&serialize::read_message(&mut body, options)?, startups)
}

fn read_record(
    message: &Reader<impl ReaderSegments>,
    startups: &mut Startups,
) -> Result<Vec<TreeChange>, capnp::Error> {
    let changes = message.get_root::<wire::record::Reader<'_>>()?.get_changes()?;
    changes.iter().map(|change| read_change(change, startups)).collect()
}

fn read_change(change: wire::change::Reader<'_>, startups: &mut Startups) -> Result<TreeChange, capnp::Error> {
    Ok(match change.which()? {
        wire::change::Create(create) => {
            let create = create?;
            let name = create.get_name()?.to_str()?;
            TreeChange::Create {
                file: FileId(create.get_file()),
                parent: FileId(create.get_parent()),
                name: FacetName::new(name).map_err(|error| capnp::Error::failed(error.to_string()))?,
                startup: startups.shared(read_startup(create.get_startup()?)?),
                has_database: create.get_database(),
            }
        }
        wire::change::Restart(restart) => {
            let restart = restart?;
            TreeChange::Restart {
                file: FileId(restart.get_file()),
                startup: startups.shared(read_startup(restart.get_startup()?)?),
            }
        }
        wire::change::Delete(file) => TreeChange::Delete { file: FileId(file) },
        wire::change::Store(file) => TreeChange::Store { file: FileId(file) },
        wire::change::Empty(file) => TreeChange::Empty { file: FileId(file) },
        wire::change::Name(name) => TreeChange::Name {
            name: ObjectName::new(name?.to_str()?).map_err(|error| capnp::Error::failed(error.to_string()))?,
        },
    })
}

fn read_startup(startup: wire::startup::Reader<'_>) -> Result<Startup, capnp::Error> {
    // Asked for only if it is there: most startups set none.
    macro_rules! limit {
        ($has:ident, $get:ident) => {
            match startup.$has() {
                true => Some(startup.$get()?.get_value()),
                false => None,
            }
        };
    }
    Ok(Startup {
        class: ClassDigest(bytes_32(startup.get_class()?, "a class digest")?),
        props: Payload {
            format: read_format(startup.get_props_format()?),
            body: startup.get_props()?.to_vec(),
        },
        id: match startup.get_id().which()? {
            wire::startup::id::Inherited(()) => None,
            wire::startup::id::Object(object) => Some(FacetId::Object(ObjectId(bytes_32(object?, "an object id")?))),
            wire::startup::id::Text(text) => Some(FacetId::Text(text?.to_str()?.to_owned())),
        },
        limits: StartupLimits {
            memory_mib: limit!(has_memory_mib, get_memory_mib),
            cpu_ms: limit!(has_cpu_ms, get_cpu_ms),
            wall_ms: limit!(has_wall_ms, get_wall_ms),
            storage_mib: limit!(has_storage_mib, get_storage_mib),
            tree_memory_mib: limit!(has_tree_memory_mib, get_tree_memory_mib),
            tree_storage_mib: limit!(has_tree_storage_mib, get_tree_storage_mib),
        },
        on_failure: match startup.get_on_failure()? {
            wire::FailurePolicy::Isolate => FailurePolicy::Isolate,
            wire::FailurePolicy::Escalate => FailurePolicy::Escalate,
        },
        grants: match startup.has_grants() {
            true => startup.get_grants()?.iter().map(read_grant).collect::<Result<_, _>>()?,
            false => Vec::new(),
        },
        withheld: match startup.has_withheld() {
            true => {
                let names = startup.get_withheld()?.iter();
                names
                    .map(|name| Ok(name?.to_str()?.to_owned()))
                    .collect::<Result<_, capnp::Error>>()?
            }
            false => Vec::new(),
        },
    })
}

fn read_grant(grant: wire::grant::Reader<'_>) -> Result<Grant, capnp::Error> {
    Ok(Grant {
        name: grant.get_name()?.to_str()?.to_owned(),
        argument: Payload {
            format: read_format(grant.get_format()?),
            body: grant.get_argument()?.to_vec(),
        },
    })
}

fn bytes_32(bytes: &[u8], what: &str) -> Result<[u8; 32], capnp::Error> {
    bytes
        .try_into()
        .map_err(|_| capnp::Error::failed(format!("{what} has 32 bytes, not {}", bytes.len())))
}
