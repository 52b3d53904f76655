//! `facetd serve` and `facetd dev`: one line on standard output when requests are answered, then until SIGTERM or SIGINT.

use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

use super::Place;
use crate::config::Config;
use crate::{Doors, Hosted, Opening};

/// Threads that open, close, copy and checkpoint databases, and those that replace one which is long in an import.
const BLOCKING_THREADS_MAX: usize = 256;
/// Requests under way when the host is told to stop have this long.
const DRAIN: Duration = Duration::from_secs(3);

pub(super) fn dev(project: &Path, place: &Place) -> anyhow::Result<()> {
    let config = read(project)?;
    crate::build::build(&config)?;
    run(&config, place, true)
}

pub(super) fn serve(path: &Path, place: &Place) -> anyhow::Result<()> {
    run(&read(path)?, place, false)
}

fn read(path: &Path) -> anyhow::Result<Config> {
    let mut config = Config::read(path)?;
    // This very file, even if another one has been put into its place since.
    config.compiler = Some("/proc/self/exe".into());
    Ok(config)
}

/// Lines of the host and of guests, as `FACETD_LOG` asks.
pub(super) fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("FACETD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_writer(std::io::stderr)
        .init();
}

fn run(config: &Config, place: &Place, developing: bool) -> anyhow::Result<()> {
    log_to_stderr();
    crate::sys::memory::bound_allocator();
    crate::sys::signals::survive_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()?;
    runtime.block_on(run_here(config, place, developing))
}

async fn run_here(config: &Config, place: &Place, developing: bool) -> anyhow::Result<()> {
    // Before anybody can know that this process serves: a SIGTERM from here on is a clean stop.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let data = place.data.clone().unwrap_or_else(|| config.data_dir());
    // What is wrong here is said before the data directory is touched.
    let doors = Doors::new(config, &data, place.listen.as_deref(), developing).await?;
    let opening = Opening::new(config, &data)?;
    let doors = match doors.open().await {
        Ok(doors) => doors,
        Err(error) => {
            opening.abandon()?;
            return Err(error.into());
        }
    };
    if !doors.admin_url().starts_with("unix:") {
        println!("facetd admin at {}", doors.admin_url());
    }
    let url = doors.url().to_owned();
    tracing::info!("{url} answers 503 until the host is ready");
    let hosted = Hosted::opening(&opening);
    let (drain, drained) = oneshot::channel::<()>();
    let served = tokio::spawn(doors.serve(hosted.clone(), async move {
        let _ = drained.await;
    }));
    let host = match tokio::task::spawn_blocking(|| opening.finish()).await? {
        Ok(host) => host,
        Err(error) => {
            let _ = drain.send(());
            // Whoever is still there has been told all there is.
            let _ = tokio::time::timeout(DRAIN, served).await;
            return Err(error.into());
        }
    };
    hosted.opened(host.clone());
    println!("facetd listening on {url}");
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        why = host.failed() => Some(why),
    };
    let _ = drain.send(());
    if tokio::time::timeout(DRAIN, served).await.is_err() {
        tracing::info!("some requests were still under way and are ended");
    }
    match failure {
        // Not stopped cleanly on purpose: what is on disk is for the next start to find out.
        Some(why) => bail!(
            "the host stops because it could not write to disk: {why}; see what is wrong with the disk, then start it again"
        ),
        None => host.stop().await.context("the host did not stop cleanly"),
    }
}
