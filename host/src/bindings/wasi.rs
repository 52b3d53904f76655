//! The closed WASI 0.2 set: what ordinary toolchains import whether they need it or not. Coarse clocks, randomness, output
//! to the log; no environment, no arguments, no input, no file, no socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, HasSelf, Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::isolate::FacetState;
use crate::live::Control;
use crate::sys::clock;

/// A line of output longer than this is logged in pieces.
const LINE_BYTES_MAX: usize = 4096;

pub(super) fn add_to_linker(linker: &mut Linker<FacetState>) -> wasmtime::Result<()> {
    type S = FacetState;
    io::error::add_to_linker::<S, HasTable>(linker, |state| &mut state.table)?;
    io::streams::add_to_linker::<S, HasTable>(linker, |state| &mut state.table)?;
    io::poll::add_to_linker::<S, HasSelf<S>>(linker, |state| state)?;
    clocks::wall_clock::add_to_linker::<S, WasiClocks>(linker, S::clocks)?;
    clocks::monotonic_clock::add_to_linker::<S, WasiClocks>(linker, S::clocks)?;
    random::random::add_to_linker::<S, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::stdin::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::stdout::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::stderr::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    random::insecure::add_to_linker::<S, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<S, WasiRandom>(linker, |state| state.ctx().ctx.random())?;
    cli::environment::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::exit::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_input::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_output::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stdin::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stdout::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    cli::terminal_stderr::add_to_linker::<S, WasiCli>(linker, S::cli)?;
    filesystem::types::add_to_linker::<S, WasiFilesystem>(linker, S::filesystem)?;
    filesystem::preopens::add_to_linker::<S, WasiFilesystem>(linker, S::filesystem)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

impl io::poll::Host for FacetState {
    /// Waiting is a blocking import like any other: it ends the turn.
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.begin_block().await?;
        let ready = io::poll::Host::poll(&mut self.table, pollables).await;
        self.end_block()?;
        ready
    }
}

impl io::poll::HostPollable for FacetState {
    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.alive()?;
        io::poll::HostPollable::ready(&mut self.table, pollable).await
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.begin_block().await?;
        let ready = io::poll::HostPollable::block(&mut self.table, pollable).await;
        self.end_block()?;
        ready
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        io::poll::HostPollable::drop(&mut self.table, pollable)
    }
}

impl WasiView for FacetState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (ctx, table) = self.wasi_parts(new_ctx);
        WasiCtxView { ctx, table }
    }
}

fn new_ctx(facet: Arc<str>, control: Arc<Control>) -> WasiCtx {
    WasiCtx::builder()
        .wall_clock(CoarseClock)
        .monotonic_clock(CoarseClock)
        .stdout(LogLines::new(&facet, &control, tracing::Level::INFO))
        .stderr(LogLines::new(&facet, &control, tracing::Level::WARN))
        .build()
}

struct CoarseClock;

impl HostWallClock for CoarseClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(clock::unix_ms())
    }
}

impl HostMonotonicClock for CoarseClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        clock::monotonic_ms().saturating_mul(1_000_000)
    }
}

/// Standard output or standard error of a facet: lines of the operator's log.
#[derive(Clone)]
struct LogLines {
    facet: Arc<str>,
    control: Arc<Control>,
    level: tracing::Level,
    line: Vec<u8>,
}

impl LogLines {
    fn new(facet: &Arc<str>, control: &Arc<Control>, level: tracing::Level) -> Self {
        Self {
            facet: facet.clone(),
            control: control.clone(),
            level,
            line: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.log();
                continue;
            }
            // Not before there is more: its end is no line of its own.
            if self.line.len() >= LINE_BYTES_MAX {
                self.log();
            }
            self.line.push(*byte);
        }
    }

    fn log(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.control
            .log(&self.facet, self.level, &String::from_utf8_lossy(&line));
    }
}

impl Drop for LogLines {
    /// A last line without an end.
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.log();
        }
    }
}

impl IsTerminal for LogLines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogLines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.2 asks for `p2_stream`; nothing else is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogLines {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LINE_BYTES_MAX)
    }
}
