//! Guest SQL is checked when it is compiled (S23): an action that is not allowed here is denied, unknown ones included.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::allow::{self, PragmaArgument};
use super::settings::Wish;

/// Names that begin so, in any case, are the host's.
pub(super) const RESERVED_PREFIX: &str = "_facetd";

/// What the authorizer of one connection knows and finds out.
#[derive(Default)]
pub(super) struct Authorizer {
    /// The host's own statement is being compiled or run. A guest's never is at that time: SQLite compiles statements
    /// again while they run, and asks again.
    trusted: AtomicBool,
    /// The statement is an ALTER TABLE, whose new name SQLite does not tell.
    alters: AtomicBool,
    /// The statement is a PRAGMA: some of them are carried out while they are compiled, so none is kept for later.
    is_pragma: AtomicBool,
    /// A setting was compiled, which carries it out, since [`Self::take_sets`].
    sets: AtomicBool,
    wish: Mutex<Option<Wish>>,
    denial: Mutex<Option<String>>,
}

impl Authorizer {
    /// Forgets what earlier statements did.
    pub(super) fn begin_statement(&self) {
        self.alters.store(false, Ordering::Relaxed);
        self.is_pragma.store(false, Ordering::Relaxed);
        self.take_wish();
        self.take_denial();
    }

    /// Why something was denied since [`Self::begin_statement`].
    pub(super) fn take_denial(&self) -> Option<String> {
        self.denial.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// True if an ALTER TABLE was compiled since [`Self::begin_statement`].
    pub(super) fn alters(&self) -> bool {
        self.alters.load(Ordering::Relaxed)
    }

    /// True if a PRAGMA was compiled since [`Self::begin_statement`].
    pub(super) fn is_pragma(&self) -> bool {
        self.is_pragma.load(Ordering::Relaxed)
    }

    /// True if a setting of the connection was compiled since this was last asked.
    pub(super) fn take_sets(&self) -> bool {
        // Not `swap`, which is a locked instruction: this is asked at the end of each turn.
        let sets = self.sets.load(Ordering::Relaxed);
        if sets {
            self.sets.store(false, Ordering::Relaxed);
        }
        sets
    }

    /// What a PRAGMA that was compiled since [`Self::begin_statement`] asks the host for.
    pub(super) fn take_wish(&self) -> Option<Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Notes what a PRAGMA that is allowed will do.
    fn note_pragma(&self, name: &str, value: Option<&str>) {
        self.is_pragma.store(true, Ordering::Relaxed);
        let Some(value) = value else { return };
        match allow::pragma(name) {
            Some(PragmaArgument::Setting) => self.sets.store(true, Ordering::Relaxed),
            Some(PragmaArgument::ForeignKeys) => {
                let wish = Wish::of(name, is_true(value));
                *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = wish;
            }
            Some(
                PragmaArgument::None
                | PragmaArgument::OptionalInteger
                | PragmaArgument::Name
                | PragmaArgument::OptionalName
                | PragmaArgument::OptionalNumberOrName
                | PragmaArgument::OptionalNumber,
            )
            | None => {}
        }
    }

    /// Everything is allowed while the guard lives.
    pub(super) fn trust(self: &Arc<Self>) -> Trusted {
        let before = self.trusted.swap(true, Ordering::Relaxed);
        Trusted {
            authorizer: Arc::clone(self),
            before,
        }
    }

    /// Answers SQLite.
    pub(super) fn check(&self, context: &AuthContext<'_>) -> Authorization {
        if self.trusted.load(Ordering::Relaxed) {
            return Authorization::Allow;
        }
        if let AuthAction::AlterTable { .. } = context.action {
            self.alters.store(true, Ordering::Relaxed);
        }
        match decide(context) {
            Ok(answer) => {
                if let AuthAction::Pragma {
                    pragma_name,
                    pragma_value,
                } = context.action
                {
                    self.note_pragma(pragma_name, pragma_value);
                }
                answer
            }
            Err(reason) => {
                // The first denial is the cause; later ones come from SQLite's own statements inside.
                self.denial
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(reason);
                Authorization::Deny
            }
        }
    }
}

pub(super) struct Trusted {
    authorizer: Arc<Authorizer>,
    before: bool,
}

impl Drop for Trusted {
    fn drop(&mut self) {
        self.authorizer.trusted.store(self.before, Ordering::Relaxed);
    }
}

/// True for a name that is the host's.
pub(super) fn is_reserved(name: &str) -> bool {
    name.get(..RESERVED_PREFIX.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(RESERVED_PREFIX))
}

fn free(name: &str) -> Result<Authorization, String> {
    if is_reserved(name) {
        return Err(format!(
            "access to {name} is prohibited: names beginning with {RESERVED_PREFIX} are the host's"
        ));
    }
    Ok(Authorization::Allow)
}

fn both_free(one: &str, other: &str) -> Result<Authorization, String> {
    free(one)?;
    free(other)
}

fn no_temp() -> Result<Authorization, String> {
    Err("temporary tables, views, triggers and indexes are not available: use ordinary ones, or WITH".to_owned())
}

fn decide(context: &AuthContext<'_>) -> Result<Authorization, String> {
    // ALTER TABLE tells its database elsewhere, and the column where others tell theirs.
    if let AuthAction::AlterTable {
        database_name,
        table_name,
    } = context.action
    {
        return if database_name == "main" {
            free(table_name)
        } else {
            no_temp()
        };
    }
    // `temp` only as far as SQLite itself looks there (ALTER TABLE updates its schema); nothing can be created in it.
    let temp = match context.database_name {
        None | Some("main") => false,
        Some("temp") => true,
        Some(other) => return Err(format!("there is no database {other:?}: a facet has its own only")),
    };
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Ok(Authorization::Allow),
        AuthAction::Read { table_name, .. } | AuthAction::Update { table_name, .. } => free(table_name),
        AuthAction::Insert { table_name } | AuthAction::Delete { table_name } if !temp => free(table_name),
        AuthAction::CreateTable { table_name } | AuthAction::DropTable { table_name } if !temp => free(table_name),
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } if !temp => free(view_name),
        AuthAction::CreateIndex { index_name, table_name } | AuthAction::DropIndex { index_name, table_name } => {
            both_free(index_name, table_name)
        }
        AuthAction::CreateTrigger {
            trigger_name,
            table_name,
        }
        | AuthAction::DropTrigger {
            trigger_name,
            table_name,
        } => both_free(trigger_name, table_name),
        AuthAction::Reindex { index_name } => free(index_name),
        // The host's tables are passed over, so that a plain ANALYZE works.
        AuthAction::Analyze { table_name } if is_reserved(table_name) => Ok(Authorization::Ignore),
        AuthAction::Analyze { .. } => Ok(Authorization::Allow),
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => pragma(pragma_name, pragma_value),
        AuthAction::Function { function_name } if allow::function(function_name) => Ok(Authorization::Allow),
        AuthAction::Function { function_name } => Err(format!("the function {function_name} is not available")),
        AuthAction::CreateVtable {
            table_name,
            module_name,
        }
        | AuthAction::DropVtable {
            table_name,
            module_name,
        } => {
            if !allow::module(module_name) {
                let modules = allow::MODULES.join(", ");
                return Err(format!(
                    "virtual tables of {module_name:?} are not available, only of {modules}"
                ));
            }
            free(table_name)
        }
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Err(
            "transactions and savepoints by statement are not available: a turn is a transaction already, and \
             storage.begin makes one inside it"
                .to_owned(),
        ),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            Err("ATTACH, DETACH and VACUUM are not available: a facet has one database".to_owned())
        }
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempView { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::DropTempIndex { .. } => no_temp(),
        _ if temp => no_temp(),
        // `AuthAction` is open, and so is SQLite's list: what is new is denied.
        _ => Err("this statement is not available".to_owned()),
    }
}

fn pragma(name: &str, value: Option<&str>) -> Result<Authorization, String> {
    let Some(argument) = allow::pragma(name) else {
        return Err(match allow::instead_of(name) {
            Some(instead) => format!("PRAGMA {name} is not available: {instead}"),
            None => format!("PRAGMA {name} is not available; docs/limits.md lists those that are"),
        });
    };
    let number = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'x' || byte.is_ascii_hexdigit())
    };
    let ok = match (argument, value) {
        (PragmaArgument::Name, None) => false,
        (_, None) => true,
        (PragmaArgument::None, Some(_)) => false,
        (PragmaArgument::Setting | PragmaArgument::ForeignKeys, Some(text)) => is_boolean(text),
        // SQLite takes whatever is no number for 0.
        (PragmaArgument::OptionalInteger, Some(text)) => text.parse::<i32>().is_ok(),
        (PragmaArgument::Name | PragmaArgument::OptionalName, Some(text)) => !is_reserved(text),
        (PragmaArgument::OptionalNumberOrName, Some(text)) => number(text) || !is_reserved(text),
        (PragmaArgument::OptionalNumber, Some(text)) => number(text),
    };
    if ok {
        Ok(Authorization::Allow)
    } else {
        Err(format!("PRAGMA {name} does not take this argument here"))
    }
}

const TRUE: [&str; 4] = ["true", "yes", "on", "1"];
const FALSE: [&str; 4] = ["false", "no", "off", "0"];

fn is_true(text: &str) -> bool {
    TRUE.iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn is_boolean(text: &str) -> bool {
    is_true(text) || FALSE.iter().any(|word| word.eq_ignore_ascii_case(text))
}
