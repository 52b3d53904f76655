//! `facetd build`: one line for each component on standard output, progress on standard error.

use crate::config::Config;

pub(super) fn build(args: &super::Build) -> anyhow::Result<()> {
    let config = Config::read(&args.project)?;
    let built = crate::build::build(&config)?;
    if args.json {
        let paths: serde_json::Map<_, _> = built
            .iter()
            .map(|b| (b.class.clone(), b.component.display().to_string().into()))
            .collect();
        println!("{}", serde_json::Value::Object(paths));
        return Ok(());
    }
    for built in built {
        println!("{} -> {}", built.class, built.component.display());
    }
    Ok(())
}
