//! `facetd:runtime/facets`: the children of the facet that calls.

use wasmtime::component::Resource;

use crate::bindings::convert::{Answered, answered};
use crate::bindings::payload_out;
use crate::bindings::wit::facetd::runtime::facets::{Host, HostStartup};
use crate::bindings::wit::facetd::runtime::types::{FacetId, Payload};
use crate::classes::ClassHandle;
use crate::error::CallError;
use crate::grants::check_withheld;
use crate::ids::FacetName;
use crate::isolate::{FacetState, GuestEnd};
use crate::limits::{LABEL_BYTES_MAX, PROPS_BYTES_MAX};
use crate::live::{Stub, Target};
use crate::object::{Cause, Kill, Tree, TreeError, TurnChanges};
use crate::startup::{self, FailurePolicy, Format, Grant, Startup, StartupLimits};

/// Names that one `facets.names` answers.
const NAMES_MAX: usize = 10_000;

/// `facets.startup`, and the first thing that was wrong with it where a setter could not say so.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct StartupBuilder {
    startup: Startup,
    wrong: Option<CallError>,
}

impl From<TreeError> for CallError {
    fn from(error: TreeError) -> Self {
        let code = match error {
            TreeError::TooDeep => "depth",
            TreeError::TooMany => "facets",
            TreeError::RecordTooLong => "tree",
        };
        Self::limit(code, error.to_string())
    }
}

impl FacetState {
    /// A decision about the facet's children; the facet ends here if it has been ended.
    pub(crate) fn decide<R>(
        &mut self,
        decide: impl FnOnce(&mut Tree, &mut TurnChanges, &mut Vec<Kill>) -> R,
    ) -> wasmtime::Result<R> {
        let (object, control) = (self.object.clone(), self.control.clone());
        let decided = object.decide_for(&control, |tree, kills| decide(tree, self.changes(), kills));
        decided.ok_or_else(|| GuestEnd::Killed.into())
    }

    fn child_stub(
        &mut self,
        (node, epoch): (crate::object::NodeId, std::sync::Arc<crate::object::Epoch>),
    ) -> Result<Resource<Stub>, CallError> {
        let target = Target {
            object: self.object.clone(),
            node,
            epoch,
            badge: "".into(),
        };
        self.keep(Stub::Facet(target))
    }

    /// Deleting and cloning cannot be undone by a transaction (S10a).
    fn outside_transaction(&self) -> Result<(), CallError> {
        if self.lock_storage().in_transaction() {
            return Err(CallError::invalid(
                "children are not part of a transaction; commit or roll back first",
            ));
        }
        Ok(())
    }
}

impl Host for FacetState {
    fn get(&mut self, name: String, startup: Resource<StartupBuilder>) -> Answered<Resource<Stub>> {
        self.alive()?;
        let builder = self.table.get(&startup)?;
        if let Some(wrong) = &builder.wrong {
            return answered(Err(wrong.clone()));
        }
        let startup = builder.startup.clone();
        let name = match FacetName::new(&name) {
            Ok(name) => name,
            Err(error) => return answered(Err(error.into())),
        };
        if let Err(full) = self.room_for_handle() {
            return answered(Err(full));
        }
        let node = self.control.node;
        self.open_turn();
        let got = self.decide(|tree, changes, kills| tree.get(node, &name, startup, changes, kills))?;
        answered(got.map_err(Into::into).and_then(|child| self.child_stub(child)))
    }

    fn lookup(&mut self, name: String) -> Answered<Option<Resource<Stub>>> {
        self.alive()?;
        let name = match FacetName::new(&name) {
            Ok(name) => name,
            Err(error) => return answered(Err(error.into())),
        };
        let node = self.control.node;
        let found = self.decide(|tree, _, _| tree.lookup(node, &name))?;
        answered(found.map(|child| self.child_stub(child)).transpose())
    }

    fn names(&mut self, after: Option<String>, max: u32) -> wasmtime::Result<Vec<String>> {
        self.alive()?;
        let node = self.control.node;
        let max = NAMES_MAX.min(max as usize);
        let names = self.decide(|tree, _, _| tree.names(node, after.as_deref(), max))?;
        Ok(names.iter().map(|name| name.as_str().to_owned()).collect())
    }

    fn info(&mut self, name: String) -> Answered<Payload> {
        self.alive()?;
        let name = match FacetName::new(&name) {
            Ok(name) => name,
            Err(error) => return answered(Err(error.into())),
        };
        let node = self.control.node;
        let Some((child, _)) = self.decide(|tree, _, _| tree.lookup(node, &name))? else {
            return answered(Err(CallError::not_found(format!(
                "there is no child {name:?}",
                name = name.as_str()
            ))));
        };
        let report = self.object.report(child).into_iter().next();
        let told = report.map(|r| {
            serde_json::json!({
                "state": r.state, "class": r.class, "storage_bytes": r.storage_bytes, "alarm_ms": r.alarm_ms,
            })
        });
        let body = serde_json::to_vec(&told)?;
        answered(Ok(payload_out(startup::Payload {
            format: Format::Json,
            body,
        })))
    }

    fn abort(&mut self, name: String, reason: String) -> Answered<()> {
        self.alive()?;
        let name = match FacetName::new(&name) {
            Ok(name) => name,
            Err(error) => return answered(Err(error.into())),
        };
        if reason.len() > LABEL_BYTES_MAX {
            let message = format!("a reason has at most {LABEL_BYTES_MAX} bytes");
            return answered(Err(CallError::limit("reason", message)));
        }
        let node = self.control.node;
        self.decide(|tree, _, kills| tree.abort(node, &name, Cause::Aborted(reason), kills))?;
        answered(Ok(()))
    }

    fn delete(&mut self, name: String) -> Answered<()> {
        self.alive()?;
        let name = match FacetName::new(&name) {
            Ok(name) => name,
            Err(error) => return answered(Err(error.into())),
        };
        if let Err(error) = self.outside_transaction() {
            return answered(Err(error));
        }
        let node = self.control.node;
        self.open_turn();
        self.decide(|tree, changes, kills| tree.delete(node, &name, changes, kills))?;
        answered(Ok(()))
    }

    fn clone(&mut self, src: String, dst: String) -> Answered<()> {
        self.alive()?;
        let (src, dst) = match (FacetName::new(&src), FacetName::new(&dst)) {
            (Ok(src), Ok(dst)) => (src, dst),
            (Err(error), _) | (_, Err(error)) => return answered(Err(error.into())),
        };
        if let Err(error) = self.outside_transaction() {
            return answered(Err(error));
        }
        let node = self.control.node;
        self.open_turn();
        let cloned = self.decide(|tree, changes, kills| tree.clone_child(node, &src, &dst, changes, kills))?;
        answered(cloned.map(drop).map_err(Into::into))
    }
}

impl HostStartup for FacetState {
    fn new(&mut self, class: Resource<ClassHandle>) -> wasmtime::Result<Resource<StartupBuilder>> {
        self.alive()?;
        let startup = Startup {
            class: self.table.get(&class)?.0,
            props: startup::Payload::empty(),
            id: None,
            limits: StartupLimits::default(),
            on_failure: FailurePolicy::default(),
            grants: Vec::new(),
            withheld: Vec::new(),
        };
        Ok(self.keep(StartupBuilder { startup, wrong: None })?)
    }

    fn set_props(&mut self, builder: Resource<StartupBuilder>, props: Payload) -> wasmtime::Result<()> {
        self.alive()?;
        let builder = self.table.get_mut(&builder)?;
        if props.body.len() > PROPS_BYTES_MAX {
            let message = format!("props have at most {PROPS_BYTES_MAX} bytes");
            builder.wrong.get_or_insert(CallError::limit("props", message));
        } else {
            builder.startup.props = props.into();
        }
        Ok(())
    }

    fn set_id(&mut self, builder: Resource<StartupBuilder>, id: FacetId) -> wasmtime::Result<()> {
        self.alive()?;
        let builder = self.table.get_mut(&builder)?;
        match id {
            FacetId::Text(text) if text.len() > LABEL_BYTES_MAX => {
                let message = format!("an id has at most {LABEL_BYTES_MAX} bytes");
                builder.wrong.get_or_insert(CallError::limit("id", message));
            }
            FacetId::Text(text) => builder.startup.id = Some(startup::FacetId::Text(text)),
            FacetId::Object(hex) => match hex.parse() {
                Ok(id) => builder.startup.id = Some(startup::FacetId::Object(id)),
                Err(error) => {
                    builder
                        .wrong
                        .get_or_insert(CallError::invalid(format!("an object id: {error}")));
                }
            },
        }
        Ok(())
    }

    fn set_limit(&mut self, builder: Resource<StartupBuilder>, name: String, value: u64) -> Answered<()> {
        self.alive()?;
        let limits = &mut self.table.get_mut(&builder)?.startup.limits;
        let limit = match name.as_str() {
            "memory-mib" => &mut limits.memory_mib,
            "cpu-ms" => &mut limits.cpu_ms,
            "wall-ms" => &mut limits.wall_ms,
            "storage-mib" => &mut limits.storage_mib,
            "tree-memory-mib" => &mut limits.tree_memory_mib,
            "tree-storage-mib" => &mut limits.tree_storage_mib,
            _ => {
                let message = format!(
                    "{name:?} is no limit; there are memory-mib, cpu-ms, wall-ms, storage-mib, tree-memory-mib and tree-storage-mib"
                );
                return answered(Err(CallError::invalid(message)));
            }
        };
        if value == 0 {
            return answered(Err(CallError::invalid("a limit of 0 would let nothing run")));
        }
        *limit = Some(value);
        answered(Ok(()))
    }

    fn grant(&mut self, builder: Resource<StartupBuilder>, name: String, argument: Payload) -> Answered<()> {
        self.alive()?;
        let grant = Grant {
            name,
            argument: argument.into(),
        };
        if let Err(error) = self.grants.check(&grant, self.class.exports.has_outbound()) {
            return answered(Err(error));
        }
        let grants = &mut self.table.get_mut(&builder)?.startup.grants;
        grants.retain(|other| other.name != grant.name);
        grants.push(grant);
        answered(Ok(()))
    }

    fn withhold(&mut self, builder: Resource<StartupBuilder>, name: String) -> Answered<()> {
        self.alive()?;
        if let Err(error) = check_withheld(&name) {
            return answered(Err(CallError::invalid(error)));
        }
        let withheld = &mut self.table.get_mut(&builder)?.startup.withheld;
        if let Err(place) = withheld.binary_search(&name) {
            withheld.insert(place, name);
        }
        answered(Ok(()))
    }

    fn set_failure_policy(&mut self, builder: Resource<StartupBuilder>, policy: String) -> Answered<()> {
        self.alive()?;
        let policy = match policy.as_str() {
            "isolate" => FailurePolicy::Isolate,
            "escalate" => FailurePolicy::Escalate,
            _ => {
                let message = format!("{policy:?} is no failure policy; there are isolate and escalate");
                return answered(Err(CallError::invalid(message)));
            }
        };
        self.table.get_mut(&builder)?.startup.on_failure = policy;
        answered(Ok(()))
    }

    fn drop(&mut self, builder: Resource<StartupBuilder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}
