//! Components from source: Rust crates by cargo with a toolchain that is found or set up, anything else by a command. What
//! is built is copied beside the configuration; the host itself only ever reads components.

mod toolchain;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::config::{ClassConfig, Config};

/// Set for commands: where to write the component.
const OUT_VARIABLE: &str = "FACETD_OUT";
/// The target of Rust guests: no WASI, and the linker writes components.
const TARGET: &str = "wasm32-unknown-unknown";

/// A component that has been built.
pub(crate) struct Built {
    pub(crate) class: String,
    pub(crate) component: PathBuf,
}

/// Builds all classes of a configuration that say how. Progress goes to standard error.
pub(crate) fn build(config: &Config) -> anyhow::Result<Vec<Built>> {
    let mut built = Vec::new();
    for (name, class) in &config.classes {
        let Some(source) = &class.build else { continue };
        let source = config.dir.join(source);
        let component = config.component(name, class);
        ensure!(
            source.is_dir(),
            "class {name:?} is built from {}, which is no folder",
            source.display()
        );
        eprintln!("facetd: building class {name} from {}", source.display());
        let folder = component.parent().expect("a component lies in a folder");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        match &class.command {
            Some(command) => run_command(name, &source, command, &component)?,
            None => build_crate(name, &source, class, &component)?,
        }
        built.push(Built {
            class: name.clone(),
            component,
        });
    }
    Ok(built)
}

fn run_command(name: &str, source: &Path, command: &[String], component: &Path) -> anyhow::Result<()> {
    let part = component.with_extension("part");
    let status = Command::new(&command[0])
        .args(&command[1..])
        .current_dir(source)
        .env(OUT_VARIABLE, &part)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .status()
        .with_context(|| format!("cannot run {:?} for class {name:?}", command.join(" ")))?;
    ensure!(
        status.success(),
        "class {name:?} could not be built: {:?} in {} failed ({status})",
        command.join(" "),
        source.display()
    );
    put(&part, component).with_context(|| {
        format!(
            "class {name:?}: {:?} should have written the component to ${OUT_VARIABLE}",
            command.join(" ")
        )
    })
}

fn build_crate(name: &str, source: &Path, class: &ClassConfig, component: &Path) -> anyhow::Result<()> {
    let manifest = source.join("Cargo.toml");
    ensure!(
        manifest.is_file(),
        "class {name:?}: {} has no Cargo.toml; say how to build it with `command`",
        source.display()
    );
    let cargo = toolchain::cargo()?;
    let target_dir = toolchain::cache_dir()?.join("target");
    std::fs::create_dir_all(&target_dir)?;
    // Guests share a target directory, and with it their dependencies; the lock keeps an artefact from being replaced
    // by one of the same name before it is copied.
    let lock = File::create(target_dir.join(".facetd-lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    let mut command = toolchain::clean(Command::new(&cargo));
    command
        .args(["build", "--release", "--target", TARGET, "--manifest-path"])
        .arg(&manifest)
        .env("CARGO_TARGET_DIR", &target_dir)
        .current_dir(source)
        .stdin(Stdio::null())
        .stdout(io::stderr());
    if source.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    if !class.features.is_empty() {
        command.args(["--features", &class.features.join(",")]);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", cargo.display()))?;
    ensure!(status.success(), "class {name:?} could not be built; see above");
    let library = library_name(&manifest)?;
    let artefact = target_dir.join(TARGET).join("release").join(format!("{library}.wasm"));
    put_copy(&artefact, component).with_context(|| {
        format!(
            "class {name:?}: cargo built no {}; is the crate a cdylib?",
            artefact.display()
        )
    })
}

/// The name of the crate's library as cargo writes it.
fn library_name(manifest: &Path) -> anyhow::Result<String> {
    #[derive(serde::Deserialize)]
    struct Manifest {
        package: Package,
        lib: Option<Library>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        name: String,
    }
    #[derive(serde::Deserialize)]
    struct Library {
        name: Option<String>,
    }
    let text = std::fs::read_to_string(manifest)?;
    let Ok(parsed) = toml::from_str::<Manifest>(&text) else {
        bail!("{} names no package", manifest.display())
    };
    Ok(parsed
        .lib
        .and_then(|lib| lib.name)
        .unwrap_or(parsed.package.name)
        .replace('-', "_"))
}

/// Replaces the component in one step, and leaves it alone if nothing changed.
fn put(part: &Path, component: &Path) -> io::Result<()> {
    if component.exists() && std::fs::read(part)? == std::fs::read(component)? {
        return std::fs::remove_file(part);
    }
    std::fs::rename(part, component)
}

fn put_copy(artefact: &Path, component: &Path) -> io::Result<()> {
    let part = component.with_extension("part");
    std::fs::copy(artefact, &part)?;
    put(&part, component)
}
