//! `facetd inspect`: what a component is, before it has run anywhere.

use anyhow::{Context as _, bail};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::classes::imports::refusal;
use crate::classes::{read, read_checked, validate};
use crate::limits::{COMPONENT_BYTES_MAX, Limits};

pub(super) fn inspect(args: &super::Inspect) -> anyhow::Result<()> {
    let path = &args.component;
    let about = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    if about.len() > COMPONENT_BYTES_MAX as u64 {
        bail!(
            "{}: a component has at most {COMPONENT_BYTES_MAX} bytes, this has {}",
            path.display(),
            about.len()
        );
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    validate(&bytes).with_context(|| format!("{}", path.display()))?;
    let found = read(&bytes)?;
    let verdict = read_checked(&bytes);
    let digest = hex::encode(Sha256::digest(&bytes));
    if args.json {
        let imports: Vec<_> = found
            .imports
            .iter()
            .map(|name| json!({ "name": name, "refused": refusal(name) }))
            .collect();
        let about = json!({
            "digest": digest,
            "bytes": bytes.len(),
            "imports": imports,
            "exports": found.exports,
            "interleaves": found.interleaves,
            "core_modules": found.core_modules,
            "memory_bytes_min": found.memory_bytes_min,
            "table_elements_min": found.table_elements_min,
            "runs": verdict.is_ok(),
        });
        println!("{about:#}");
        return Ok(());
    }
    println!("digest   {digest}");
    println!("size     {} bytes, {} core modules", bytes.len(), found.core_modules);
    let memory_mib = found.memory_bytes_min.div_ceil(1 << 20);
    let tight = match found.memory_bytes_min > Limits::default().memory_bytes {
        true => "; more than facets get unless facetd.toml says otherwise (memory_mib)",
        false => "",
    };
    println!(
        "memory   at least {memory_mib} MiB, {} table elements{tight}",
        found.table_elements_min
    );
    println!(
        "events   {}",
        match found.interleaves {
            true => "several at a time, which interleave where it awaits",
            false => "one at a time",
        }
    );
    println!("exports");
    for name in &found.exports {
        println!("  {name}");
    }
    println!("imports");
    for name in &found.imports {
        match refusal(name) {
            None => println!("  {name}"),
            Some(why) => println!("  {name}  REFUSED\n      {}", after_name(&why)),
        }
    }
    match verdict {
        Ok(_) => println!("It can run as a facet, and reach nothing but what it imports."),
        Err(error) => println!("It cannot run as a facet: {error}"),
    }
    Ok(())
}

/// The reason without the name that stands above it.
fn after_name(why: &str) -> &str {
    why.split_once("\": ").map_or(why, |(_, reason)| reason)
}
