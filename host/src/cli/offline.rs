//! `facetd check`, `facetd classes`, `facetd doctor` and `facetd recover`: a data directory that no host uses.

use anyhow::bail;

use crate::Treatment;

/// Prints what is wrong, and the disk each facet takes if asked to.
pub(super) fn check(args: &super::Check) -> anyhow::Result<()> {
    let checked = crate::check(&args.data)?;
    for problem in &checked.problems {
        println!("{problem}");
    }
    if args.usage {
        for facet in &checked.facets {
            let name = facet
                .name
                .as_ref()
                .map_or_else(String::new, |name| format!("({name:?}) "));
            let empty = match facet.is_empty {
                true => " (holds nothing; its file goes when the facet next stops)",
                false => "",
            };
            println!(
                "{:>12} {}/id:{} {name}{}{empty}",
                facet.bytes, facet.namespace, facet.object, facet.path
            );
        }
    }
    let bytes: u64 = checked.facets.iter().map(|facet| facet.bytes).sum();
    println!("{} databases, {bytes} bytes", checked.facets.len());
    if checked.left_over > 0 {
        println!(
            "{} files that hosts left when they were killed, which nobody reads: `facetd recover` removes them",
            checked.left_over
        );
    }
    if checked.dirty {
        println!(
            "the host did not stop cleanly: {} units of {} objects are in the journal, which are complete only with them and \
             were not looked at",
            checked.units, checked.unchecked
        );
    }
    let many = match checked.problems.len() {
        0 if checked.dirty => bail!(
            "the host did not stop cleanly, so this is not all of it: run `facetd recover`, or start the host, and check again"
        ),
        0 => return Ok(()),
        1 => "1 problem was found".to_owned(),
        many => format!("{many} problems were found"),
    };
    bail!("{many}, see above; nothing was changed: restore what is damaged from a backup")
}

/// Prints what is stored, and removes what no facet runs if asked to.
pub(super) fn classes(args: &super::Classes) -> anyhow::Result<()> {
    let found = crate::stored_classes(&args.data, args.remove_unused)?;
    let mut kept_bytes = 0;
    for class in &found.classes {
        let by: Vec<_> = class.uploaded_by.iter().map(String::as_str).collect();
        let by = match by.is_empty() {
            true => "not uploaded".to_owned(),
            false => format!("uploaded in {}", by.join(", ")),
        };
        let removed = match found.removed.contains(&class.digest) {
            true => "; removed",
            false => {
                kept_bytes += class.bytes;
                ""
            }
        };
        println!(
            "{} {:>10} bytes, {} stored facets run it, {by}{removed}",
            class.digest, class.bytes, class.facets
        );
    }
    let kept = found.classes.len() - found.removed.len();
    println!("{kept} components, {kept_bytes} bytes");
    Ok(())
}

/// Carries out the journal.
pub(super) fn recover(args: &super::Recover) -> anyhow::Result<()> {
    super::serve::log_to_stderr();
    if args.salvage {
        return salvage(args);
    }
    let units = crate::recover(&args.data, args.copied)?;
    println!("{units} units of the journal were carried out; all databases are ordinary SQLite files now");
    Ok(())
}

/// Carries out what a damaged journal still holds.
fn salvage(args: &super::Recover) -> anyhow::Result<()> {
    let found = crate::salvage(&args.data, args.copied)?;
    let units = found.units;
    let Some(damage) = found.damage else {
        println!(
            "{units} units of the journal were carried out; it is not damaged. All databases are ordinary SQLite files now"
        );
        return Ok(());
    };
    println!("damaged: {}", damage.why);
    println!("kept: {}", damage.kept.display());
    for object in &damage.objects {
        println!("has lost commits: {object}");
    }
    for problem in &found.problems {
        println!("{problem}");
    }
    bail!(
        "{units} units, up to unit {}, were carried out. Later commits are missing: {} units of the objects above, and those that \
         cannot be read, which may be of any object. Run `facetd check`, and restore what is wrong from a backup",
        damage.upto,
        damage.left
    )
}

/// Explains one object.
pub(super) fn doctor(args: &super::Doctor) -> anyhow::Result<()> {
    let Some((namespace, object)) = args.object.split_once('/') else {
        bail!("{:?} is no NAMESPACE/OBJECT", args.object);
    };
    let object = crate::ObjectRef::parse(object);
    let treatment = match (args.repair, args.forget_missing) {
        (false, _) => Treatment::None,
        (true, false) => Treatment::Repair,
        (true, true) => Treatment::Forget,
    };
    let found = crate::doctor(&args.data, namespace, &object, args.unique_key.as_deref(), treatment)?;
    for fact in &found.facts {
        println!("{fact}");
    }
    for problem in &found.problems {
        println!("wrong: {problem}");
    }
    for repair in &found.repairs {
        let what = if found.repaired { "mended" } else { "can be mended" };
        println!("{what}: {repair}");
    }
    match (found.repairs.is_empty() || found.repaired, found.problems.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => bail!("what is wrong cannot be mended from what is here: restore it from a backup"),
        (false, _) => bail!("nothing was changed; `--repair` makes a new index, and keeps the old one"),
    }
}
