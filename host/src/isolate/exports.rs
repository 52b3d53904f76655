//! What a class exports, found once per class and called through typed functions. Async and blocking exports are called
//! alike; which one a class has is written in its component.

use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Instance, Lower, Resource, TypedFunc};
use wasmtime::{AsContextMut, error::Context};

use crate::bindings::wit::facetd::runtime::http_types::{Request, Response};
use crate::bindings::wit::facetd::runtime::types::{Answer, Failure, Payload};
use crate::isolate::FacetState;
use crate::live::Stub;
use crate::storage;

type CallFunc = TypedFunc<(String, Payload, Vec<Resource<Stub>>, String), (Result<Answer, Failure>,)>;
type StartFunc = TypedFunc<(), (Result<(), Failure>,)>;
type AlarmFunc = TypedFunc<(AlarmInfo,), (Result<(), Failure>,)>;
type HttpFunc = TypedFunc<(Request,), (Result<Response, Failure>,)>;
type OutboundFunc = TypedFunc<(String, Request), (Result<Response, Failure>,)>;

/// `alarm.info`. By hand, as bindings are generated for imports only.
#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(crate) struct AlarmInfo {
    #[component(name = "scheduled-ms")]
    scheduled_ms: u64,
    retry: u32,
}

impl From<storage::AlarmInfo> for AlarmInfo {
    fn from(info: storage::AlarmInfo) -> Self {
        let storage::AlarmInfo { scheduled_ms, retry } = info;
        Self { scheduled_ms, retry }
    }
}

/// Where a component's exports lie.
pub(crate) struct HandlerExports {
    call: ComponentExportIndex,
    start: Option<ComponentExportIndex>,
    http: Option<ComponentExportIndex>,
    alarm: Option<ComponentExportIndex>,
    outbound: Option<ComponentExportIndex>,
}

/// The exports of one instance.
#[derive(Clone)]
pub(crate) struct Exports {
    pub(crate) call: CallFunc,
    pub(crate) start: Option<StartFunc>,
    pub(crate) http: Option<HttpFunc>,
    pub(crate) alarm: Option<AlarmFunc>,
    pub(crate) outbound: Option<OutboundFunc>,
}

impl HandlerExports {
    pub(crate) fn find(component: &Component) -> wasmtime::Result<Self> {
        let find = |interface: &str, func: &str| {
            ["", "blocking-"].iter().find_map(|flavour| {
                let name = format!("facetd:runtime/{flavour}{interface}@0.1.0");
                let (_, interface) = component.get_export(None, &name)?;
                component.get_export(Some(&interface), func).map(|(_, func)| func)
            })
        };
        let call = find("handler", "call").context("it exports neither facetd:runtime/handler nor blocking-handler")?;
        Ok(Self {
            call,
            start: find("start", "start"),
            http: find("http", "handle"),
            alarm: find("alarm", "alarm"),
            outbound: find("outbound", "handle"),
        })
    }

    /// Alarms can be set: there is a handler for them.
    pub(crate) fn has_alarm(&self) -> bool {
        self.alarm.is_some()
    }

    /// Children can reach the network through it.
    pub(crate) fn has_outbound(&self) -> bool {
        self.outbound.is_some()
    }

    pub(crate) fn of(
        &self,
        mut store: impl AsContextMut<Data = FacetState>,
        instance: &Instance,
    ) -> wasmtime::Result<Exports> {
        let call = instance.get_typed_func(&mut store, self.call)?;
        let start = self
            .start
            .as_ref()
            .map(|start| instance.get_typed_func(&mut store, start))
            .transpose()?;
        let http = self
            .http
            .as_ref()
            .map(|http| instance.get_typed_func(&mut store, http))
            .transpose()?;
        let alarm = self
            .alarm
            .as_ref()
            .map(|alarm| instance.get_typed_func(&mut store, alarm))
            .transpose()?;
        let outbound = self
            .outbound
            .as_ref()
            .map(|outbound| instance.get_typed_func(&mut store, outbound))
            .transpose()?;
        Ok(Exports {
            call,
            start,
            http,
            alarm,
            outbound,
        })
    }
}
