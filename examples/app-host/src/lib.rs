//! The supervisor: a list of apps, each a child facet. List and children change in the same turn, so neither tells of an
//! app that the other does not have.

mod answer;
mod api;
mod apps;
mod components;
mod page;
mod route;

use facetd_sdk::prelude::*;
use serde_json::value::RawValue;

use crate::apps::App;
use crate::components::Component;

#[derive(Default)]
pub struct Supervisor;

#[facet]
impl Supervisor {
    /// All apps, by name.
    pub fn apps(&self) -> Result<Vec<App>> {
        apps::all()
    }

    /// What can be started: the example classes and what was uploaded.
    pub fn components(&self) -> Result<Vec<Component>> {
        components::all()
    }

    /// A new app of a class: a name in `facetd.toml`, the label of an upload, or a digest.
    pub fn start(&self, name: String, class: String) -> Result<App> {
        apps::start(&name, &class)
    }

    /// Calls a method of an app; answers what the app answers.
    pub async fn call(
        &self,
        name: String,
        method: String,
        args: Option<Vec<serde_json::Value>>,
    ) -> Result<Box<RawValue>> {
        let args = Payload::json(&args.unwrap_or_default())?;
        apps::find(&name)?.call(&method, args).await.map_err(answer::explain)
    }

    /// Stops an app at once; those that wait for it get the reason. Its next call starts it again on what it stored.
    pub fn abort(&self, name: String, reason: Option<String>) -> Result<()> {
        apps::abort(&name, &reason.unwrap_or_else(|| "aborted by hand".into()))
    }

    /// Stops an app and deletes it with everything it stored.
    pub fn delete(&self, name: String) -> Result<()> {
        apps::delete(&name)
    }

    /// A new app with the class and a copy of the data of another one, which goes on running.
    pub fn clone(&self, name: String, copy: String) -> Result<App> {
        apps::clone(&name, &copy)
    }

    async fn fetch(&self, request: http::Request) -> Result<http::Response> {
        api::serve(request).await
    }
}
