//! `facetd recover --salvage`: a journal that is damaged is carried out as far as it is whole, and kept. What may be missing, or
//! torn, since then is nothing that the host could find by itself, so a mark stays until a person has looked and removes it.

use std::path::{Path, PathBuf};

use super::{OfflineError, carry_out, check};
use crate::storage::{JournalOptions, Salvaged, bound_sqlite_memory, salvage_journal};
use crate::sys::data_dir::{DataDir, sync_dir, write_whole};

/// The mark, in the data directory. No namespace is called so.
pub(super) const MARK: &str = "salvaged.txt";

/// What was done to a data directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Salvage {
    /// Units that were carried out.
    pub units: u64,
    /// What was damaged, if anything was.
    pub damage: Option<Damage>,
    /// What `check` has found afterwards, if anything was damaged.
    pub problems: Vec<String>,
}

/// What could not be carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Where, and what is wrong there.
    pub why: String,
    /// Where the damaged journal is kept.
    pub kept: PathBuf,
    /// The last unit that was carried out; 0 for none.
    pub upto: u64,
    /// Units behind the damage that can be read.
    pub left: u64,
    /// What these are of, as `namespace/id:...`. What cannot be read may be of any other object.
    pub objects: Vec<String>,
}

/// Recovers, and carries out what lies before the damage if the journal is damaged. `copied`: as for [`super::recover`].
pub fn salvage(root: &Path, copied: bool) -> Result<Salvage, OfflineError> {
    bound_sqlite_memory();
    let data = DataDir::open_idle(root)?;
    if !copied {
        data.refuse_copy()?;
    }
    data.check_environment()?;
    let mark = |salvaged: &Salvaged| {
        let path = data.root().join(MARK);
        // Of an earlier time that nobody has looked at yet.
        let earlier = std::fs::read_to_string(&path).unwrap_or_default();
        write_whole(&path, (earlier + &told(&Damage::from(salvaged))).as_bytes())?;
        sync_dir(data.root())
    };
    let salvaged = salvage_journal(data.root(), &JournalOptions::default(), mark)
        .map_err(|error| OfflineError::Recover(error.to_string()))?;
    let units = carry_out(&data).map_err(|error| match reminder(data.root()) {
        Some(reminder) => OfflineError::Recover(format!("{error}. And {reminder}")),
        None => error,
    })?;
    drop(data);
    let problems = match &salvaged {
        Some(_) => check(root)?.problems,
        None => Vec::new(),
    };
    Ok(Salvage {
        units,
        damage: salvaged.as_ref().map(Damage::from),
        problems,
    })
}

impl From<&Salvaged> for Damage {
    fn from(salvaged: &Salvaged) -> Self {
        let named = |(namespace, object): &(String, crate::ids::ObjectId)| format!("{namespace}/id:{object}");
        Self {
            why: salvaged.why.clone(),
            kept: salvaged.kept.clone(),
            upto: salvaged.upto.number(),
            left: salvaged.left,
            objects: salvaged.objects.iter().map(named).collect(),
        }
    }
}

/// For people.
fn told(damage: &Damage) -> String {
    let mut text = format!(
        "The journal was damaged: {}\nIt is kept as {}. What was acknowledged up to unit {} is in the databases; later commits are \
         missing.\nThese objects have lost commits, and some of their databases may be torn; {} units of them could be read and \
         were not carried out:\n",
        damage.why,
        damage.kept.display(),
        damage.upto,
        damage.left
    );
    for object in &damage.objects {
        text.push_str(&format!("  {object}\n"));
    }
    text.push_str(
        "Units that could not be read may be of any other object.\nRun `facetd check`, restore what is wrong from a backup, and \
         remove this file.\n",
    );
    text
}

/// What has to be said as long as nobody has removed the mark.
pub(super) fn reminder(root: &Path) -> Option<String> {
    let path = root.join(MARK);
    path.exists().then(|| {
        format!(
            "the journal of this directory was damaged, and commits are missing: {} says of which objects. Run `facetd check`, \
             restore what is wrong from a backup, and remove that file",
            path.display()
        )
    })
}
