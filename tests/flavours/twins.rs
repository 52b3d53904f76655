//! `blocking-X` is `X` without `async`, function by function; so no flavour can do what the other cannot.
//!
//! The WIT is read here as text, on purpose by no parser that the host uses. What this reader does not know is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::imports;
use crate::support::repository;

pub(crate) const TESTS: &[crate::Plain] = &[
    ("twins::functions_are_the_same", functions_are_the_same),
    (
        "twins::worlds_import_what_may_be_imported",
        worlds_import_what_may_be_imported,
    ),
    ("twins::worlds_are_twins", worlds_are_twins),
];

/// A language that cannot await needs another way to have several calls under way.
const BLOCKING_ONLY: &[(&str, &[&str])] = &[("blocking-calls", &["pending", "pending.wait", "start"])];

/// Functions (and resources, types) by name, as text without `async` and with single spaces.
type Interface = BTreeMap<String, Item>;

#[derive(PartialEq, Eq, Debug)]
struct Item {
    text: String,
    is_async: bool,
}

#[derive(Default)]
struct Package {
    interfaces: BTreeMap<String, Interface>,
    /// Statements of each world: "import kv", "include facet".
    worlds: BTreeMap<String, Vec<String>>,
}

fn read() -> Result<Package> {
    let mut package = Package::default();
    for entry in fs::read_dir(repository().join("wit"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        read_file(&text, &mut package).with_context(|| path.display().to_string())?;
    }
    ensure!(
        !package.interfaces.is_empty() && !package.worlds.is_empty(),
        "no WIT at all"
    );
    Ok(package)
}

/// Statements end with `;` or are blocks.
fn read_file(text: &str, package: &mut Package) -> Result<()> {
    let text: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect::<Vec<_>>()
        .join(" ");
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (head, body, after) = statement(rest)?;
        match (head.split(' ').collect::<Vec<_>>()[..].as_ref(), body) {
            (["package", _], None) => {}
            (["interface", name], Some(body)) => {
                _ = package.interfaces.insert((*name).to_owned(), interface("", body)?)
            }
            (["world", name], Some(body)) => {
                let lines = body.split(';').map(squeeze).filter(|line| !line.is_empty());
                package.worlds.insert((*name).to_owned(), lines.collect());
            }
            _ => bail!("what is {head:?}?"),
        }
        rest = after;
    }
    Ok(())
}

/// The first statement: what stands before `;` or `{`, the block if there is one, what follows.
fn statement(text: &str) -> Result<(String, Option<&str>, &str)> {
    let end = text.find([';', '{']).with_context(|| format!("no end of {text:?}"))?;
    let head = squeeze(&text[..end]);
    // `use types.{a, b};` is a statement with braces and no block.
    if head.starts_with("use ") {
        let end = text.find(';').with_context(|| format!("no end of {text:?}"))?;
        return Ok((squeeze(&text[..end]), None, text[end + 1..].trim()));
    }
    if text[end..].starts_with(';') {
        return Ok((head, None, text[end + 1..].trim()));
    }
    let mut depth = 0;
    for (at, character) in text[end..].char_indices() {
        depth += match character {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            let close = end + at;
            return Ok((head, Some(&text[end + 1..close]), text[close + 1..].trim()));
        }
    }
    bail!("{head:?} is not closed")
}

/// Methods are named after their resource: `pending.wait`.
fn interface(of: &str, body: &str) -> Result<Interface> {
    let mut items = Interface::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (head, block, after) = statement(rest)?;
        rest = after;
        let (name, text) = match block {
            Some(block) => {
                let (what, name) = head.split_once(' ').with_context(|| format!("what is {head:?}?"))?;
                match what {
                    "resource" => items.extend(interface(&format!("{name}."), block)?),
                    "record" | "variant" | "enum" | "flags" => {}
                    _ => bail!("what is {head:?}?"),
                }
                let text = if what == "resource" {
                    head.clone()
                } else {
                    format!("{head} {}", squeeze(block))
                };
                (name.to_owned(), text)
            }
            None if head.starts_with("use ") => (head.clone(), head.clone()),
            None => {
                let name = head.split([':', '(']).next().unwrap_or_default().trim();
                let name = name
                    .strip_prefix("resource ")
                    .or(name.strip_prefix("type "))
                    .unwrap_or(name);
                (name.to_owned(), head.clone())
            }
        };
        let item = Item {
            is_async: text.contains(": async func"),
            text: text.replace(": async func", ": func"),
        };
        let name = format!("{of}{}", name.trim_start_matches('%'));
        ensure!(items.insert(name.clone(), item).is_none(), "{name} stands there twice");
    }
    Ok(items)
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn functions_are_the_same() -> Result<()> {
    let package = read()?;
    let mut blocking_interfaces = 0;
    for (name, blocking) in &package.interfaces {
        let Some(twin) = name.strip_prefix("blocking-") else {
            // What waits has a twin for those that cannot.
            let waits = blocking.values().any(|item| item.is_async);
            let twin = format!("blocking-{name}");
            ensure!(
                waits == package.interfaces.contains_key(&twin),
                "{name}: has async functions: {waits}, but {twin} says otherwise"
            );
            continue;
        };
        blocking_interfaces += 1;
        let of = package
            .interfaces
            .get(twin)
            .with_context(|| format!("{name} has no twin {twin}"))?;
        let only = BLOCKING_ONLY
            .iter()
            .find(|(of, _)| of == name)
            .map_or(&[][..], |(_, only)| only);
        for (function, item) in blocking {
            ensure!(!item.is_async, "{name}.{function} is async");
            match of.get(function) {
                Some(twin) => ensure!(
                    twin.text == item.text,
                    "{name}: {:?}, its twin: {:?}",
                    item.text,
                    twin.text
                ),
                None => ensure!(
                    only.contains(&function.as_str()),
                    "{twin} has no {function}, {name} has"
                ),
            }
        }
        if let Some(missing) = of.keys().find(|function| !blocking.contains_key(*function)) {
            bail!("{name} lacks {missing}");
        }
        if let Some(gone) = only.iter().find(|function| !blocking.contains_key(**function)) {
            bail!("{name} has no {gone} any more: strike it off this test's list");
        }
    }
    ensure!(
        blocking_interfaces >= 10,
        "only {blocking_interfaces} twins: has the WIT been read at all?"
    );
    Ok(())
}

impl Package {
    /// What a world imports or exports (`import`, `export`), with what it includes.
    fn of_world(&self, world: &str, which: &str) -> Result<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for line in self.worlds.get(world).with_context(|| format!("no world {world}"))? {
            match line.split_once(' ') {
                Some(("include", other)) => all.extend(self.of_world(other, which)?),
                Some((what @ ("import" | "export"), interface)) => {
                    ensure!(
                        self.interfaces.contains_key(interface),
                        "{world}: no interface {interface}"
                    );
                    if what == which {
                        all.insert(interface.to_owned());
                    }
                }
                _ => bail!("{world}: what is {line:?}?"),
            }
        }
        Ok(all)
    }

    /// Interfaces whose types an interface uses: whoever imports or exports it imports those.
    fn used_by(&self, interface: &str) -> BTreeSet<String> {
        let uses = self.interfaces[interface]
            .keys()
            .filter_map(|item| item.strip_prefix("use "));
        uses.filter_map(|of| of.split('.').next()).map(str::to_owned).collect()
    }
}

fn worlds_import_what_may_be_imported() -> Result<()> {
    let package = read()?;
    let mut imported = BTreeSet::new();
    for world in package.worlds.keys() {
        for interface in package.of_world(world, "import")? {
            imported.extend(package.used_by(&interface));
            imported.insert(interface);
        }
        for interface in package.of_world(world, "export")? {
            imported.extend(package.used_by(&interface));
        }
    }
    let listed: BTreeSet<String> = imports::RUNTIME.iter().map(|name| (*name).to_owned()).collect();
    ensure!(
        imported == listed,
        "imported by a world and not listed in imports.rs, or the other way round: {:?}",
        imported.symmetric_difference(&listed).collect::<Vec<_>>()
    );
    Ok(())
}

/// A blocking world is its async one with every interface that has a blocking twin replaced by that.
fn worlds_are_twins() -> Result<()> {
    let package = read()?;
    for (world, twin) in [
        ("facet", "blocking-facet"),
        ("full-facet", "full-blocking-facet"),
        ("online-facet", "online-blocking-facet"),
        ("gateway-facet", "gateway-blocking-facet"),
    ] {
        for which in ["import", "export"] {
            let expected = package.of_world(world, which)?.into_iter().map(|interface| {
                let blocking = format!("blocking-{interface}");
                if package.interfaces.contains_key(&blocking) {
                    blocking
                } else {
                    interface
                }
            });
            ensure!(
                expected.collect::<BTreeSet<_>>() == package.of_world(twin, which)?,
                "{which}s of {world} and {twin} differ"
            );
        }
    }
    Ok(())
}
