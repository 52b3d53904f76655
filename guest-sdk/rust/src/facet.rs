//! From the exports of a component to a value with methods. One instance of the facet lives as long as the isolate;
//! events share it, so state in memory stands behind `&self` in `Cell` or `RefCell` (and no `RefCell` borrow is held over
//! an `await`).

use std::future::Future;
use std::rc::Rc;
use std::sync::Once;

use crate::alarms::Alarm;
use crate::bindings::facetd::runtime::types::{Answer as RawAnswer, Failure, Stub as RawStub};
use crate::error::{Error, Payload, Result};
use crate::event;
use crate::http::{Request, Response};
use crate::stub::{Answer, Stub};

/// A facet, by hand. `#[facet]` writes this for an `impl` block with methods; implement it yourself to see calls as they
/// come, and name the type in [`export!`](crate::export).
pub trait Facet: Sized + 'static {
    /// Runs each time the facet is started, before its first event.
    fn start() -> impl Future<Output = Result<Self>>;

    /// A call. The badge of its stub is [`context::badge`](crate::context::badge).
    fn call(&self, method: &str, args: Payload, stubs: Vec<Stub>) -> impl Future<Output = Result<Answer>>;

    /// An HTTP request; without this the answer is 404.
    fn fetch(&self, request: Request) -> impl Future<Output = Result<Response>> {
        let _ = request;
        async { Ok(Response::text(404, "this facet does not speak HTTP\n")) }
    }

    /// What the child of that name fetches through this facet (see [`egress`](crate::egress)). Only called for a type named in
    /// `export!(Type, outbound)`.
    fn outbound(&self, child: String, request: Request) -> impl Future<Output = Result<Response>> {
        let _ = (child, request);
        async { Err(Error::new("no-outbound", "this facet hands no requests on")) }
    }

    /// The facet's alarm is due (see [`alarms`](crate::alarms)). Only called for a type named in `export!(Type, alarm)`.
    fn alarm(&self, alarm: Alarm) -> impl Future<Output = Result<()>> {
        let _ = alarm;
        async { Err(Error::new("no-alarm", "this facet has no alarm handler")) }
    }
}

/// The error for a method that there is not.
pub fn no_such_method(method: &str, methods: &[&str]) -> Error {
    let message = format!("no method `{method}`; there are: {}", methods.join(", "));
    Error::new("no-such-method", message)
}

/// A panic ends the facet with a trap, which says nothing; so the reason goes to the log first.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| crate::log::error(panic)));
    });
}

/// Used by [`export!`](crate::export).
#[doc(hidden)]
pub async fn export_start<F: Facet>(keep: impl FnOnce(F)) -> Result<(), Failure> {
    install_panic_hook();
    keep(event::with_badge(Rc::from(""), F::start()).await?);
    Ok(())
}

/// Used by [`export!`](crate::export).
#[doc(hidden)]
pub async fn export_call<F: Facet>(
    facet: Option<Rc<F>>,
    method: String,
    args: Payload,
    stubs: Vec<RawStub>,
    badge: String,
) -> Result<RawAnswer, Failure> {
    let facet = facet.ok_or_else(not_started)?;
    let stubs = stubs.into_iter().map(Stub::from_raw).collect();
    Ok(event::with_badge(badge.into(), facet.call(&method, args, stubs))
        .await?
        .into())
}

/// Used by [`export!`](crate::export).
#[doc(hidden)]
pub async fn export_fetch<F: Facet>(facet: Option<Rc<F>>, request: Request) -> Result<Response, Failure> {
    let facet = facet.ok_or_else(not_started)?;
    Ok(event::with_badge(Rc::from(""), facet.fetch(request)).await?)
}

/// Used by [`export!`](crate::export).
#[doc(hidden)]
pub async fn export_alarm<F: Facet>(facet: Option<Rc<F>>, alarm: Alarm) -> Result<(), Failure> {
    let facet = facet.ok_or_else(not_started)?;
    Ok(event::with_badge(Rc::from(""), facet.alarm(alarm)).await?)
}

/// Used by [`export!`](crate::export).
#[doc(hidden)]
pub async fn export_outbound<F: Facet>(
    facet: Option<Rc<F>>,
    child: String,
    request: Request,
) -> Result<Response, Failure> {
    let facet = facet.ok_or_else(not_started)?;
    Ok(event::with_badge(Rc::from(""), facet.outbound(child, request)).await?)
}

fn not_started() -> Error {
    Error::new("not-started", "an event came before `start`")
}

/// Makes a type that implements [`Facet`] the class of this component; `export!(Type, alarm)` one that can set alarms,
/// `export!(Type, outbound)` one whose children can reach the network through it, `export!(Type, alarm, outbound)` both.
/// `#[facet]` does it by itself.
#[macro_export]
macro_rules! export {
    (@ alarm) => {
        use $crate::bindings::alarm::exports::facetd::runtime::alarm;

        impl alarm::Guest for Exports {
            async fn alarm(info: alarm::Info) -> ::std::result::Result<(), types::Failure> {
                let alarm = $crate::alarms::Alarm {
                    scheduled_ms: info.scheduled_ms,
                    retry: info.retry,
                };
                $crate::__private::export_alarm(instance(), alarm).await
            }
        }

        $crate::bindings::alarm::export_alarm_bindings!(Exports with_types_in $crate::bindings::alarm);
    };
    (@ outbound) => {
        impl $crate::bindings::outbound::exports::facetd::runtime::outbound::Guest for Exports {
            async fn handle(
                child: ::std::string::String,
                request: http_types::Request,
            ) -> ::std::result::Result<http_types::Response, types::Failure> {
                $crate::__private::export_outbound(instance(), child, request).await
            }
        }

        $crate::bindings::outbound::export_outbound_bindings!(Exports with_types_in $crate::bindings::outbound);
    };
    ($facet:ty $(, $also:ident)* $(,)?) => {
        const _: () = {
            use $crate::bindings::exports::facetd::runtime as exports;
            use $crate::bindings::facetd::runtime::{http_types, types};

            ::std::thread_local! {
                static FACET: ::std::cell::OnceCell<::std::rc::Rc<$facet>> = const { ::std::cell::OnceCell::new() };
            }

            fn instance() -> ::std::option::Option<::std::rc::Rc<$facet>> {
                FACET.with(|facet| facet.get().cloned())
            }

            struct Exports;

            impl exports::start::Guest for Exports {
                async fn start() -> ::std::result::Result<(), types::Failure> {
                    // Started twice is the host's mistake; the first instance stays.
                    $crate::__private::export_start::<$facet>(|facet| {
                        FACET.with(|cell| drop(cell.set(::std::rc::Rc::new(facet))))
                    })
                    .await
                }
            }

            impl exports::handler::Guest for Exports {
                async fn call(
                    method: ::std::string::String,
                    args: types::Payload,
                    stubs: ::std::vec::Vec<types::Stub>,
                    badge: ::std::string::String,
                ) -> ::std::result::Result<types::Answer, types::Failure> {
                    $crate::__private::export_call(instance(), method, args, stubs, badge).await
                }
            }

            impl exports::http::Guest for Exports {
                async fn handle(
                    request: http_types::Request,
                ) -> ::std::result::Result<http_types::Response, types::Failure> {
                    $crate::__private::export_fetch(instance(), request).await
                }
            }

            $crate::bindings::export_bindings!(Exports with_types_in $crate::bindings);

            $($crate::export!(@ $also);)*
        };
    };
}
