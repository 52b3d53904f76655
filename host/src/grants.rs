//! What a facet may do beyond what every facet may, and what it may not although others may (S24). A parent says what it gives
//! and what it withholds; what a facet has is what all those above it give and have themselves, worked out from their startups
//! each time it is started.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use crate::classes::imports::runtime_interface;
use crate::egress::HostList;
use crate::error::{CallError, Kind};
use crate::startup::{Format, Grant, Payload, Startup};

/// The argument of a grant, bytes: as long a list as there may be fits. It is stored with the facet.
const ARGUMENT_BYTES_MAX: usize = 32 << 10;

/// Something that has to be granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ability {
    /// HTTP requests to the network.
    Egress,
}

impl Ability {
    pub(crate) const ALL: [Self; 1] = [Self::Egress];

    /// Its name in `startup.grant`.
    fn name(self) -> &'static str {
        match self {
            Self::Egress => "egress",
        }
    }

    /// Interfaces of `facetd:runtime` that only those import who have it.
    pub(crate) fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::Egress => &["egress", "blocking-egress"],
        }
    }

    fn of(name: &str) -> Result<Self, CallError> {
        Self::ALL
            .into_iter()
            .find(|ability| ability.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                let message = format!("this host grants nothing named {name:?}; there is: {known}");
                CallError::new(Kind::Denied, "grant", message)
            })
    }
}

/// What may be withheld: each interface that does something, both flavours of it by one name.
const WITHHOLDABLE: [&str; 15] = [
    "alarms",
    "bodies",
    "calls",
    "classes",
    "clock",
    "durability",
    "egress",
    "facets",
    "kv",
    "log",
    "objects",
    "random",
    "sql",
    "storage",
    "timers",
];

/// An error if there is nothing of that name that could be withheld.
pub(crate) fn check_withheld(name: &str) -> Result<(), String> {
    match WITHHOLDABLE.contains(&name) {
        true => Ok(()),
        false => Err(format!(
            "{name:?} cannot be withheld; there are: {}",
            WITHHOLDABLE.join(", ")
        )),
    }
}

/// What a facet has.
#[derive(Clone, Default, Debug)]
pub(crate) struct Grants {
    pub(crate) egress: Egress,
    /// What it has not although every facet has it.
    withheld: BTreeSet<String>,
}

/// How a facet reaches the network.
#[derive(Clone, Default, Debug)]
pub(crate) enum Egress {
    #[default]
    None,
    /// Hosts that all of these lists allow.
    Hosts(Vec<Arc<HostList>>),
    /// Through the `outbound` export of its parent.
    Parent,
}

/// The argument of a grant of `egress`.
#[derive(Debug)]
enum Given {
    Hosts(Arc<HostList>),
    Parent,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEgress {
    hosts: Option<Vec<String>>,
    via: Option<String>,
}

fn egress(argument: &Payload) -> Result<Given, String> {
    const FORM: &str =
        r#"the argument of a grant of egress is JSON, {"hosts": ["api.example.com"]} or {"via": "parent"}"#;
    if argument.format != Format::Json {
        return Err(FORM.into());
    }
    let raw: RawEgress = serde_json::from_slice(&argument.body).map_err(|error| format!("{FORM}: {error}"))?;
    match raw {
        RawEgress {
            hosts: Some(hosts),
            via: None,
        } => match HostList::parse(&hosts) {
            Ok(list) if list.is_empty() => Err("a list of no hosts grants nothing; leave the grant out".into()),
            Ok(list) => Ok(Given::Hosts(Arc::new(list))),
            Err(error) => Err(error),
        },
        RawEgress {
            hosts: None,
            via: Some(via),
        } if via == "parent" => Ok(Given::Parent),
        RawEgress { .. } => Err(FORM.into()),
    }
}

impl Grants {
    /// Of the facet with this lineage, the root first. `hosts`: what roots of its namespace may reach. What is withheld from
    /// one of them is withheld from all below it.
    pub(crate) fn of(lineage: &[Arc<Startup>], hosts: &Arc<HostList>, withheld: &[String]) -> Self {
        let root = match hosts.is_empty() {
            true => Egress::None,
            false => Egress::Hosts(vec![hosts.clone()]),
        };
        let egress = lineage.iter().skip(1).fold(root, Egress::given);
        let below = lineage.iter().flat_map(|startup| &startup.withheld);
        let withheld = withheld.iter().chain(below).cloned().collect();
        Self { egress, withheld }
    }

    /// May this facet give that to a child? What it gives beyond what it has is not refused but has no effect.
    pub(crate) fn check(&self, grant: &Grant, has_outbound: bool) -> Result<(), CallError> {
        let ability = Ability::of(&grant.name)?;
        if grant.argument.body.len() > ARGUMENT_BYTES_MAX {
            let message = format!("the argument of a grant has at most {ARGUMENT_BYTES_MAX} bytes");
            return Err(CallError::limit("grant", message));
        }
        match ability {
            Ability::Egress => match (egress(&grant.argument).map_err(CallError::invalid)?, &self.egress) {
                (Given::Parent, _) if has_outbound => Ok(()),
                (Given::Parent, _) => Err(CallError::invalid(
                    "children cannot reach the network through this facet: its class exports neither \
                     facetd:runtime/outbound@0.1.0 nor facetd:runtime/blocking-outbound@0.1.0",
                )),
                (Given::Hosts(_), Egress::Hosts(_)) => Ok(()),
                (Given::Hosts(_), Egress::None | Egress::Parent) => Err(CallError::new(
                    Kind::Denied,
                    "egress",
                    "this facet has no hosts to give: it has no list of its own; give {\"via\": \"parent\"} instead, and export \
                     `outbound`",
                )),
            },
        }
    }

    /// The facet has all that its class imports; else which import it has not, and what can be done.
    pub(crate) fn suffice(&self, imports: &[String]) -> Result<(), String> {
        for import in imports {
            let Some(interface) = runtime_interface(import) else {
                continue;
            };
            let name = interface.strip_prefix("blocking-").unwrap_or(interface);
            if self.withheld.contains(name) {
                return Err(format!(
                    "it imports {import:?}, which is withheld from it, by its namespace or by a startup above it; leave {name} out of \
                     what it imports"
                ));
            }
            let needed = Ability::ALL
                .into_iter()
                .find(|ability| ability.interfaces().contains(&interface));
            match (needed, &self.egress) {
                (None, _) | (Some(Ability::Egress), Egress::Hosts(_) | Egress::Parent) => {}
                (Some(Ability::Egress), Egress::None) => {
                    return Err(format!(
                        "it imports {import:?}, which is not granted. A root has it by `hosts` in [namespaces.NAME.egress]; a child \
                         by its parent's startup.grant(\"egress\", {{\"hosts\": [...]}}), where all above it have these hosts, too, \
                         or by startup.grant(\"egress\", {{\"via\": \"parent\"}})"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Egress {
    /// What a child with this startup has, of a facet that has this.
    fn given(self, child: &Arc<Startup>) -> Self {
        let grant = child.grants.iter().find(|grant| grant.name == Ability::Egress.name());
        // One that cannot be read was written by another version of the host: it gives nothing.
        match (grant.and_then(|grant| egress(&grant.argument).ok()), self) {
            (Some(Given::Parent), _) => Self::Parent,
            (Some(Given::Hosts(list)), Self::Hosts(mut lists)) => {
                lists.push(list);
                match HostList::meet(&lists) {
                    true => Self::Hosts(lists),
                    false => Self::None,
                }
            }
            (Some(Given::Hosts(_)), Self::None | Self::Parent) | (None, _) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::RequestHead;
    use crate::ids::ClassDigest;
    use crate::startup::{FailurePolicy, StartupLimits};

    fn json(text: &str) -> Payload {
        Payload {
            format: Format::Json,
            body: text.into(),
        }
    }

    fn grant(text: &str) -> Grant {
        Grant {
            name: "egress".into(),
            argument: json(text),
        }
    }

    /// A lineage of a root and facets with these grants, each below the one before.
    fn grants(namespace: &[&str], below: &[Option<&str>]) -> Grants {
        let startup = |grants| {
            Arc::new(Startup {
                class: ClassDigest([0; 32]),
                props: Payload::empty(),
                id: None,
                limits: StartupLimits::default(),
                on_failure: FailurePolicy::Isolate,
                grants,
                withheld: Vec::new(),
            })
        };
        let mut lineage = vec![startup(Vec::new())];
        lineage.extend(
            below
                .iter()
                .map(|given| startup(given.iter().map(|text| grant(text)).collect())),
        );
        Grants::of(&lineage, &Arc::new(HostList::parse(namespace).unwrap()), &[])
    }

    fn reaches(grants: &Grants, uri: &str) -> bool {
        let head = RequestHead::new("GET", uri, &[]).unwrap();
        match &grants.egress {
            Egress::Hosts(lists) => lists.iter().all(|list| list.allows(&head.origin)),
            Egress::None | Egress::Parent => false,
        }
    }

    #[test]
    fn a_root_has_what_its_namespace_has() {
        assert!(matches!(grants(&[], &[]).egress, Egress::None));
        let root = grants(&["a.example", "*.b.example"], &[]);
        assert!(reaches(&root, "https://a.example/") && reaches(&root, "http://x.b.example"));
        assert!(!reaches(&root, "https://b.example/"));
    }

    #[test]
    fn a_child_has_what_all_above_it_give_and_have() {
        let hosts = |list: &str| format!("{{\"hosts\": {list}}}");
        let (wide, narrow, other) = (
            hosts(r#"["*"]"#),
            hosts(r#"["x.a.example", "c.example"]"#),
            hosts(r#"["d.example"]"#),
        );
        let (wide, narrow, other) = (Some(wide.as_str()), Some(narrow.as_str()), Some(other.as_str()));
        let via = Some(r#"{"via": "parent"}"#);
        let namespace = ["*.a.example", "d.example"];
        for (below, allowed, denied) in [
            (
                vec![wide],
                vec!["x.a.example", "d.example"],
                vec!["c.example", "a.example"],
            ),
            (
                vec![narrow],
                vec!["x.a.example"],
                vec!["c.example", "d.example", "y.a.example"],
            ),
            (vec![wide, narrow], vec!["x.a.example"], vec!["c.example"]),
            (vec![narrow, wide], vec!["x.a.example"], vec!["d.example", "c.example"]),
        ] {
            let grants = grants(&namespace, &below);
            for host in allowed {
                assert!(
                    reaches(&grants, &format!("https://{host}/")),
                    "{below:?} should reach {host}"
                );
            }
            for host in denied {
                assert!(
                    !reaches(&grants, &format!("https://{host}/")),
                    "{below:?} should not reach {host}"
                );
            }
        }
        let none = |below: &[Option<&str>]| matches!(grants(&namespace, below).egress, Egress::None);
        assert!(
            none(&[None]) && none(&[wide, None]) && none(&[None, wide]),
            "nothing is inherited"
        );
        assert!(none(&[narrow, other]), "they have no host in common");
        assert!(none(&[via, wide]), "who has no list gives none");
        let parent = |below: &[Option<&str>]| matches!(grants(&[], below).egress, Egress::Parent);
        assert!(
            parent(&[via]) && parent(&[None, via]) && parent(&[via, via]),
            "the parent needs no grant"
        );
        assert!(none(&[Some("{}")]), "one that cannot be read gives nothing");
    }

    #[test]
    fn what_is_no_grant_is_refused_with_what_to_write() {
        let root = grants(&["a.example"], &[]);
        let refused = |argument: &Payload| {
            let grant = Grant {
                name: "egress".into(),
                argument: argument.clone(),
            };
            root.check(&grant, true).unwrap_err()
        };
        for text in [
            "",
            "{}",
            "null",
            "[]",
            r#""parent""#,
            r#"{"via": "root"}"#,
            r#"{"hosts": "a.example"}"#,
            r#"{"hosts": ["a.example"], "via": "parent"}"#,
            r#"{"hosts": ["a.example"], "ports": [80]}"#,
        ] {
            let error = refused(&json(text));
            assert_eq!(error.kind, Kind::InvalidArgument, "{text}");
            assert!(
                error.message.contains(r#"{"via": "parent"}"#),
                "{text}: {}",
                error.message
            );
        }
        for text in [
            r#"{"hosts": []}"#,
            r#"{"hosts": ["http://a.example"]}"#,
            r#"{"hosts": ["a b"]}"#,
        ] {
            assert_eq!(refused(&json(text)).kind, Kind::InvalidArgument, "{text}");
        }
        let bytes = Payload {
            format: Format::Bytes,
            ..json(r#"{"via": "parent"}"#)
        };
        assert_eq!(refused(&bytes).kind, Kind::InvalidArgument);
        let padded = |bytes: usize| grant(&format!("{:bytes$}", r#"{"via": "parent"}"#));
        assert!(root.check(&padded(ARGUMENT_BYTES_MAX), true).is_ok());
        let error = root.check(&padded(ARGUMENT_BYTES_MAX + 1), true).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (Kind::Limit, "grant"));
        let other = Grant {
            name: "files".into(),
            ..grant("{}")
        };
        let error = root.check(&other, true).unwrap_err();
        assert!(
            error.kind == Kind::Denied && error.message.contains("egress"),
            "{error}"
        );
    }

    #[test]
    fn only_who_has_hosts_gives_some_and_only_who_handles_requests_is_gone_through() {
        let (hosts, via) = (grant(r#"{"hosts": ["*"]}"#), grant(r#"{"via": "parent"}"#));
        let (rich, poor) = (grants(&["a.example"], &[]), grants(&[], &[]));
        assert!(rich.check(&hosts, false).is_ok());
        assert_eq!(poor.check(&hosts, true).unwrap_err().kind, Kind::Denied);
        assert!(poor.check(&via, true).is_ok());
        let error = rich.check(&via, false).unwrap_err();
        assert!(
            error.kind == Kind::InvalidArgument && error.message.contains("outbound"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let import = "facetd:runtime/blocking-egress@0.1.0";
        let imports = [import.to_owned()];
        assert!(grants(&["a.example"], &[]).suffice(&imports).is_ok());
        assert!(grants(&[], &[]).suffice(&[]).is_ok());
        let missing = grants(&[], &[]).suffice(&imports).unwrap_err();
        assert!(
            missing.contains(import) && missing.contains("startup.grant"),
            "{missing}"
        );
    }

    #[test]
    fn what_is_withheld_is_withheld_from_all_below_and_in_both_flavours() {
        let startup = |withheld: &[&str]| {
            Arc::new(Startup {
                class: ClassDigest([0; 32]),
                props: Payload::empty(),
                id: None,
                limits: StartupLimits::default(),
                on_failure: FailurePolicy::Isolate,
                grants: Vec::new(),
                withheld: withheld.iter().map(|name| (*name).to_owned()).collect(),
            })
        };
        let none = Arc::new(HostList::default());
        let of = |lineage: &[Arc<Startup>], namespace: &[String]| Grants::of(lineage, &none, namespace);
        let import = |interface: &str| vec![format!("facetd:runtime/{interface}@0.1.0")];
        let child = of(
            &[startup(&[]), startup(&["calls"]), startup(&["sql"])],
            &["alarms".into()],
        );
        for refused in ["calls", "blocking-calls", "sql", "alarms"] {
            let missing = child.suffice(&import(refused)).unwrap_err();
            assert!(missing.contains(refused) && missing.contains("withheld"), "{missing}");
        }
        for had in ["kv", "types", "context", "facets"] {
            assert_eq!(child.suffice(&import(had)), Ok(()));
        }
        let parent = of(&[startup(&[]), startup(&["calls"])], &[]);
        assert!(parent.suffice(&import("sql")).is_ok() && parent.suffice(&import("calls")).is_err());
    }

    #[test]
    fn what_can_be_withheld_are_interfaces_that_there_are() {
        use crate::classes::imports::RUNTIME;
        for name in WITHHOLDABLE {
            assert!(RUNTIME.contains(&name), "{name}");
        }
        let never = ["types", "context", "http-types"];
        for interface in RUNTIME {
            let name = interface.strip_prefix("blocking-").unwrap_or(interface);
            assert_eq!(check_withheld(name).is_ok(), !never.contains(&name), "{name}");
        }
        assert!(check_withheld("telepathy").unwrap_err().contains("alarms, bodies"));
    }
}
