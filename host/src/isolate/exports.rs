//! What a class exports, found once per class and called through typed functions. Async and blocking exports are called
//! alike; which one a class has is written in its component.

use wasmtime::component::{Component, ComponentExportIndex, Instance, Resource, TypedFunc};
use wasmtime::{AsContextMut, error::Context};

use crate::bindings::wit::facetd::runtime::http_types::{Request, Response};
use crate::bindings::wit::facetd::runtime::types::{Answer, Failure, Payload};
use crate::isolate::FacetState;
use crate::live::Stub;

type CallFunc = TypedFunc<(String, Payload, Vec<Resource<Stub>>, String), (Result<Answer, Failure>,)>;
type StartFunc = TypedFunc<(), (Result<(), Failure>,)>;
type HttpFunc = TypedFunc<(Request,), (Result<Response, Failure>,)>;

/// Where a component's exports lie.
pub(crate) struct HandlerExports {
    call: ComponentExportIndex,
    start: Option<ComponentExportIndex>,
    http: Option<ComponentExportIndex>,
}

/// The exports of one instance.
#[derive(Clone)]
pub(crate) struct Exports {
    pub(crate) call: CallFunc,
    pub(crate) start: Option<StartFunc>,
    pub(crate) http: Option<HttpFunc>,
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
        })
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
        Ok(Exports { call, start, http })
    }
}
