//! The first-polled future of a store's event loop: it ends the turn, answers what is finished, and lets new events in.
//! Nothing else resumes a guest, and nothing else answers for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use wasmtime::component::{Accessor, ComponentNamedList, Lower, TypedFunc};

use crate::bindings;
use crate::bindings::wit::facetd::runtime::http_types::{Request, Response};
use crate::bindings::wit::facetd::runtime::types::{Answer, Failure};
use crate::error::{CallError, Kind, Outcome};
use crate::isolate::{Event, Exports, FacetState, Pending};
use crate::limits::{IN_FLIGHT_MAX, START_WALL_MS};
use crate::live::{
    AlarmEnd, Chain, ChainLink, Control, Effect, Gate, Held, HttpRequest, HttpResponse, Mail, ReplyTo, Work,
};
use crate::object::EventId;
use crate::storage::Lsn;
use crate::sys::clock;

/// How a pump ends without a trap.
pub(super) enum PumpEnd {
    /// Idle for long enough.
    Idle,
    /// The start hook answered an error.
    StartFailed(String),
}

/// What a guest has answered; an outer error means that the isolate is lost.
enum Done {
    Start(wasmtime::Result<Result<(), Failure>>),
    Call(wasmtime::Result<Result<Answer, Failure>>),
    Http(wasmtime::Result<Result<Response, Failure>>),
    Alarm(wasmtime::Result<Result<(), Failure>>),
}

/// What an event brings along beside its work.
#[derive(Default)]
struct Terms {
    chain: Chain,
    deadline: Option<std::time::Instant>,
    dep: Lsn,
}

type InFlight<'a> = Pin<Box<dyn Future<Output = (EventId, Done)> + Send + 'a>>;

pub(super) struct Pump<'a> {
    accessor: &'a Accessor<FacetState>,
    // Kept beside the store, which costs more to get at.
    control: Arc<Control>,
    gate: Arc<Gate>,
    exports: Exports,
    inbox: &'a mut mpsc::Receiver<Mail>,
    in_flight: FuturesUnordered<InFlight<'a>>,
    in_flight_max: usize,
    started: &'a mut bool,
    next_event: u64,
    idle: bool,
    evict: bool,
    /// Nothing but an alarm has come since the facet was started: it was started for that.
    woken: bool,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        accessor: &'a Accessor<FacetState>,
        exports: Exports,
        inbox: &'a mut mpsc::Receiver<Mail>,
        started: &'a mut bool,
        interleaves: bool,
    ) -> wasmtime::Result<Self> {
        let in_flight_max = if interleaves { IN_FLIGHT_MAX } else { 1 };
        let in_flight = FuturesUnordered::new();
        let (control, gate) = accessor.with(|mut access| {
            let state = access.get();
            (state.control.clone(), state.gate.clone())
        });
        let mut pump = Self {
            accessor,
            control,
            gate,
            exports,
            inbox,
            in_flight,
            in_flight_max,
            started,
            next_event: 1,
            idle: false,
            evict: false,
            woken: true,
        };
        pump.start()?;
        Ok(pump)
    }

    fn start(&mut self) -> wasmtime::Result<()> {
        let Some(start) = self.exports.start else {
            *self.started = true;
            return Ok(());
        };
        let id = EventId(0);
        let call = self.accessor.with(|mut access| {
            let call = start.start_call_concurrent(&mut access, ())?;
            let state = access.get();
            state.tasks.insert(call.task(), id);
            state.enter(id, Pending::Start, Terms::default(), START_WALL_MS);
            wasmtime::error::Ok(call)
        })?;
        let accessor = self.accessor;
        self.in_flight.push(Box::pin(async move {
            (
                id,
                Done::Start(
                    start
                        .finish_call_concurrent(accessor, call)
                        .await
                        .map(|(result,)| result),
                ),
            )
        }));
        Ok(())
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<wasmtime::Result<PumpEnd>> {
        if self.gate.note_round() {
            cx.waker().wake_by_ref();
        }
        let copying = self.accessor.with(|mut access| {
            let state = access.get();
            state.seal_turn()?;
            state.poll_copying(cx)
        })?;
        let mut answered = false;
        while let Poll::Ready(Some((id, done))) = self.in_flight.poll_next_unpin(cx) {
            answered = true;
            if let Done::Start(Ok(Err(failure))) = done {
                return Poll::Ready(Ok(PumpEnd::StartFailed(failure.message)));
            }
            if let Done::Alarm(Err(error)) = done {
                // The event stays: what comes of it is written when the facet is closed.
                return Poll::Ready(Err(error));
            }
            self.finish(id, done)?;
        }
        if answered {
            self.accessor.with(|mut access| access.get().seal_turn())?;
        }
        if self.in_flight.len() > 1 {
            self.accessor.with(|mut access| access.get().charge_several());
        }
        if *self.started && !copying {
            self.admit_all(cx)?;
        }
        self.note_idleness(copying);
        if self.evict && self.idle {
            // Guest tasks that outlive their answers are work, too.
            ready!(self.accessor.poll_no_interesting_tasks(cx));
            let inbox = &*self.inbox;
            let retired = self.accessor.with(|mut access| {
                let state = access.get();
                state.object.retire_idle(&state.control, inbox)
            });
            if retired {
                return Poll::Ready(Ok(PumpEnd::Idle));
            }
            self.evict = false;
            self.set_idle_since(clock::monotonic_ms());
        }
        Poll::Pending
    }

    fn finish(&mut self, id: EventId, done: Done) -> wasmtime::Result<()> {
        self.accessor.with(|mut access| {
            let state = access.get();
            let (pending, entered_in) = state.leave(id).map(|event| (event.pending, event.entered_in)).unzip();
            let effect = match (done, pending) {
                (Done::Start(result), _) => {
                    result.map(|_| ())?;
                    *self.started = true;
                    return Ok(());
                }
                (Done::Call(result), Some(Pending::Call(reply))) => {
                    let result = result?.map_err(failed);
                    let result = result.and_then(|answer| bindings::answer_out(state, answer));
                    Effect::Answer(reply, result)
                }
                (Done::Http(result), Some(Pending::Http(reply))) => {
                    let result = result?.map_err(failed);
                    let result = result.and_then(|response| bindings::response_out(state, response));
                    Effect::Respond(reply, result)
                }
                (Done::Alarm(result), Some(Pending::Alarm(reply))) => {
                    let failure = result?.err().map(|failure| cut(failure.message));
                    let next_ms = state.finish_alarm(failure.as_deref())?;
                    // It would lie idle like this, and many may be woken at a time. Unless it is needed again soon.
                    let soon_ms = clock::unix_ms().saturating_add(self.control.idle_evict_ms);
                    self.evict = self.woken && next_ms.is_none_or(|next_ms| next_ms > soon_ms);
                    Effect::Alarm(reply, AlarmEnd::Ran)
                }
                (Done::Call(_) | Done::Http(_) | Done::Alarm(_), _) => return Ok(()),
            };
            state.send_answer(entered_in.unwrap_or_default(), effect);
            Ok(())
        })
    }

    fn admit_all(&mut self, cx: &mut Context<'_>) -> wasmtime::Result<()> {
        while self.in_flight.len() < self.in_flight_max && !self.gate.is_shut(cx.waker()) {
            if !self.gate.is_quiet() {
                cx.waker().wake_by_ref();
                break;
            }
            match self.inbox.poll_recv(cx) {
                Poll::Ready(Some(Mail::Event {
                    work,
                    chain,
                    deadline,
                    dep,
                })) => {
                    if deadline.is_some_and(|deadline| deadline <= clock::now()) {
                        let error = CallError::new(Kind::Deadline, "", "the time was up before the facet got to it");
                        work.fail(error, dep);
                        continue;
                    }
                    self.evict = false;
                    self.woken &= matches!(work, Work::Alarm { .. });
                    let id = EventId(self.next_event);
                    self.next_event += 1;
                    if self.admit(id, work, Terms { chain, deadline, dep })? {
                        // It must run before another one is let in: it may close the gate. The loop comes here after it.
                        self.gate.note_begun();
                        break;
                    }
                }
                Poll::Ready(Some(Mail::Evict)) => self.evict = true,
                // None: the object is gone, and with it every way to reach this facet.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Ok(())
    }

    /// False if it was refused.
    fn admit(&mut self, id: EventId, work: Work, terms: Terms) -> wasmtime::Result<bool> {
        let accessor = self.accessor;
        let wall_ms = self.control.limits.get().map_or(START_WALL_MS, |limits| limits.wall_ms);
        match work {
            Work::Call {
                method,
                args,
                stubs,
                badge,
                reply,
            } => {
                let call = self.exports.call;
                let begun = accessor.with(|mut access| {
                    let stubs = match bindings::answer_in(access.get(), stubs) {
                        Ok(stubs) => stubs,
                        Err(error) => {
                            let dep = access.get().dep;
                            reply.send(Err(error), dep);
                            return wasmtime::error::Ok(None);
                        }
                    };
                    let params = (method, bindings::payload_out(args), stubs, badge.to_string());
                    let begun = call.start_call_concurrent(&mut access, params)?;
                    reply.taken(id);
                    let state = access.get();
                    state.tasks.insert(begun.task(), id);
                    state.enter(id, Pending::Call(reply), terms, wall_ms);
                    Ok(Some(begun))
                })?;
                let Some(begun) = begun else { return Ok(false) };
                self.in_flight.push(Box::pin(async move {
                    (
                        id,
                        Done::Call(
                            call.finish_call_concurrent(accessor, begun)
                                .await
                                .map(|(result,)| result),
                        ),
                    )
                }));
            }
            Work::Alarm { reply, waited_ms } => self.admit_alarm(id, reply, waited_ms, terms, wall_ms)?,
            Work::Http { request, reply } => {
                let Some(http) = self.exports.http else {
                    let message = "this facet's class exports no http handler; call it through /rpc/ instead";
                    return self.refuse(reply, CallError::not_found(message));
                };
                return self.admit_request(id, http, |request| (request,), request, reply, terms, wall_ms);
            }
            Work::Outbound { child, request, reply } => {
                let Some(outbound) = self.exports.outbound else {
                    let message =
                        "the parent's class exports no `outbound`, through which requests of its children could go";
                    return self.refuse(reply, CallError::new(Kind::Denied, "egress", message));
                };
                let child = child.as_str().to_owned();
                return self.admit_request(id, outbound, |request| (child, request), request, reply, terms, wall_ms);
            }
        }
        Ok(true)
    }

    fn refuse(&self, reply: ReplyTo<HttpResponse>, error: CallError) -> wasmtime::Result<bool> {
        let dep = self.accessor.with(|mut access| access.get().dep);
        reply.send(Err(error), dep);
        Ok(false)
    }

    /// A request, for an export that takes it with something more or without.
    #[allow(clippy::too_many_arguments, reason = "what an event is made of")]
    fn admit_request<P>(
        &mut self,
        id: EventId,
        export: TypedFunc<P, (Result<Response, Failure>,)>,
        params: impl FnOnce(Request) -> P,
        request: HttpRequest,
        reply: ReplyTo<HttpResponse>,
        terms: Terms,
        wall_ms: u64,
    ) -> wasmtime::Result<bool>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
    {
        let accessor = self.accessor;
        let begun = accessor.with(|mut access| {
            let request = match bindings::request_in(access.get(), request) {
                Ok(request) => request,
                Err(error) => {
                    let dep = access.get().dep;
                    reply.send(Err(error), dep);
                    return wasmtime::error::Ok(None);
                }
            };
            let begun = export.start_call_concurrent(&mut access, params(request))?;
            reply.taken(id);
            let state = access.get();
            state.tasks.insert(begun.task(), id);
            state.enter(id, Pending::Http(reply), terms, wall_ms);
            Ok(Some(begun))
        })?;
        let Some(begun) = begun else { return Ok(false) };
        self.in_flight.push(Box::pin(async move {
            let answered = export.finish_call_concurrent(accessor, begun).await;
            (id, Done::Http(answered.map(|(result,)| result)))
        }));
        Ok(true)
    }

    fn admit_alarm(
        &mut self,
        id: EventId,
        reply: ReplyTo<AlarmEnd>,
        waited_ms: Option<u64>,
        terms: Terms,
        wall_ms: u64,
    ) -> wasmtime::Result<()> {
        let accessor = self.accessor;
        let alarm = self.exports.alarm;
        let begun = accessor.with(|mut access| {
            let state = access.get();
            let (info, alarm) = match (state.begin_alarm(alarm.is_some(), waited_ms), alarm) {
                (Ok(Ok(info)), Some(alarm)) => (info, alarm),
                (refused, _) => {
                    state.commit()?;
                    let end = refused.map(|begun| begun.err().unwrap_or(AlarmEnd::Ran));
                    reply.send(end.map_err(Into::into), state.dep);
                    return wasmtime::error::Ok(None);
                }
            };
            // Entered first: if the facet is ended here, the try has failed.
            state.enter(id, Pending::Alarm(reply), terms, wall_ms);
            // No guest has run since the last turn ended, so this one holds the try and nothing else.
            state.commit()?;
            let begun = alarm.start_call_concurrent(&mut access, (info.into(),))?;
            access.get().tasks.insert(begun.task(), id);
            Ok(Some((alarm, begun)))
        })?;
        let Some((alarm, begun)) = begun else { return Ok(()) };
        self.in_flight.push(Box::pin(async move {
            let answered = alarm.finish_call_concurrent(accessor, begun).await;
            (id, Done::Alarm(answered.map(|(result,)| result)))
        }));
        Ok(())
    }

    fn note_idleness(&mut self, copying: bool) {
        let idle = *self.started && self.in_flight.is_empty() && !copying;
        if idle != self.idle {
            self.idle = idle;
            self.set_idle_since(if idle { clock::monotonic_ms() } else { 0 });
        }
    }

    fn set_idle_since(&self, since_ms: u64) {
        self.control.idle_since_ms.store(since_ms, Ordering::Relaxed);
    }
}

impl FacetState {
    /// An event enters the guest.
    fn enter(&mut self, id: EventId, pending: Pending, terms: Terms, wall_ms: u64) {
        let Terms { chain, deadline, dep } = terms;
        self.charge_before_entry();
        self.dep = self.dep.max(dep);
        let mut chain = Arc::unwrap_or_clone(chain);
        chain.push(ChainLink {
            object: self.object.id,
            node: self.control.node,
        });
        let wall_deadline_ms = clock::monotonic_ms().saturating_add(wall_ms);
        let event = Event {
            pending,
            chain: Arc::new(chain),
            deadline,
            wall_deadline_ms,
            entered_in: self.turns,
            cpu_ns: 0,
            had_grace: false,
        };
        self.events.insert(id, event);
        self.control.reset_log();
        self.note_events();
    }

    /// An event has been answered.
    fn leave(&mut self, id: EventId) -> Option<Event> {
        self.charge_before_leaving(id);
        let event = self.events.remove(&id)?;
        self.tasks.retain(|_, of| *of != id);
        self.note_events();
        Some(event)
    }

    pub(super) fn note_events(&self) {
        let wall_deadline_ms = self
            .events
            .values()
            .map(|event| event.wall_deadline_ms)
            .min()
            .unwrap_or(0);
        self.control.wall_deadline_ms.store(wall_deadline_ms, Ordering::Relaxed);
        self.note_held();
    }

    /// S16: may another event enter before the present ones are done?
    pub(crate) fn note_held(&self) {
        let first = self.events.first_key_value();
        let starts = first.is_some_and(|(_, event)| matches!(event.pending, Pending::Start));
        let (held, events) = if self.blocked > 0 {
            (Held::Import(self.blocked_for), Vec::new())
        } else if let Some(holder) = self.gate.holder() {
            (Held::Event(holder), Vec::new())
        } else if let Some((id, _)) = first
            && (starts || !self.class.inspected.interleaves)
        {
            (Held::Event(Some(*id)), Vec::new())
        } else if self.events.len() >= IN_FLIGHT_MAX {
            (Held::Full, self.events.keys().copied().collect())
        } else {
            (Held::Free, Vec::new())
        };
        self.control.waits.hold(held, events);
    }
}

/// Text of a guest's own error, code or message; what is longer is cut.
const FAILURE_TEXT_BYTES_MAX: usize = 64 << 10;

fn cut(mut text: String) -> String {
    if text.len() > FAILURE_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAILURE_TEXT_BYTES_MAX));
    }
    text
}

/// What a guest answers as an error of its own: its writes stay (S9).
fn failed(failure: Failure) -> CallError {
    CallError {
        kind: Kind::Failed,
        code: cut(failure.code),
        message: cut(failure.message),
        outcome: Outcome::Applied,
        detail: failure
            .detail
            .map(Into::into)
            .filter(|detail| crate::isolate::check_payload(detail).is_ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wit::facetd::runtime::types::{Format, Payload};
    use crate::limits::PAYLOAD_BYTES_MAX;

    #[test]
    fn texts_of_a_guests_error_are_cut_and_a_detail_that_is_too_large_is_left_out() {
        for (bytes, kept) in [(65_535, 65_535), (65_536, 65_536), (65_537, 65_536)] {
            let error = failed(Failure {
                code: "c".repeat(bytes),
                message: "m".repeat(bytes),
                detail: None,
            });
            assert_eq!((error.code.len(), error.message.len()), (kept, kept));
        }
        assert_eq!(cut("ü".repeat(32_769)), "ü".repeat(32_768));
        assert_eq!(
            cut(format!("x{}", "ü".repeat(32_768))).len(),
            65_535,
            "no half character"
        );
        for (bytes, there) in [(-1, true), (0, true), (1, false)] {
            let error = failed(Failure {
                code: String::new(),
                message: String::new(),
                detail: Some(Payload {
                    format: Format::Bytes,
                    body: vec![0; PAYLOAD_BYTES_MAX.checked_add_signed(bytes).unwrap()],
                }),
            });
            assert_eq!(error.detail.is_some(), there, "{bytes}");
        }
    }
}
