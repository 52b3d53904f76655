//! What an operator sees of a database: the guest's tables as the guest may read them, and its keys. Nothing is changed.

use super::connection::Connected;
use super::error::StorageError;
use super::sql::RESULT_BYTES_MAX;
use super::statement::{Failure, Statement, Step};
use super::store::FacetStore;
use super::value::Value;

/// Tables shown at most.
const TABLES_MAX: usize = 1000;

const TABLES: &str = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') \
     AND substr(name, 1, 7) <> '_facetd' AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name";
const KEYS: &str = "SELECT key, value FROM _facetd_kv ORDER BY key LIMIT ?1";
const KEY_COUNT: &str = "SELECT count(*) FROM _facetd_kv";

/// What a field holds.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Cell {
    Value(Value),
    /// Text that is none, which guests read with U+FFFD in it.
    NotUtf8(Vec<u8>),
}

/// The beginning of one table.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct TableDump {
    /// Its name; `keys` for the keys and values (also if the guest has a table of that name: the keys come first).
    pub(crate) name: String,
    /// Its columns in order.
    pub(crate) columns: Vec<String>,
    /// The first rows, bounded in bytes as well.
    pub(crate) rows: Vec<Vec<Cell>>,
    /// Rows it has.
    pub(crate) total: u64,
    /// Why it cannot be read, for instance a virtual table whose content is gone.
    pub(crate) error: Option<String>,
}

impl FacetStore {
    /// The keys, if any, and all tables with their first `rows_max` rows. Between turns it shows what is committed.
    pub(crate) fn inspect(&mut self, rows_max: u32) -> Result<Vec<TableDump>, StorageError> {
        let Some(open) = self.opened(false)? else {
            return Ok(Vec::new());
        };
        let mut dumps = Vec::new();
        let total = open.host_integer(KEY_COUNT)?;
        if total > 0 {
            let rows = open.keys(rows_max)?;
            let columns = vec!["key".to_owned(), "value".to_owned()];
            dumps.push(TableDump {
                name: "keys".to_owned(),
                columns,
                rows,
                total: total as u64,
                error: None,
            });
        }
        for name in open.table_names()? {
            dumps.push(open.dump(name, rows_max));
        }
        Ok(dumps)
    }
}

impl Connected {
    fn keys(&mut self, rows_max: u32) -> Result<Vec<Vec<Cell>>, StorageError> {
        self.host(KEYS, |statement| {
            statement.bind_integer(1, i64::from(rows_max))?;
            Ok(first_rows(statement, rows_max)?)
        })
    }

    fn table_names(&mut self) -> Result<Vec<String>, StorageError> {
        self.host(TABLES, |statement| {
            let mut names = Vec::new();
            while names.len() < TABLES_MAX && statement.step()? == Step::Row {
                names.push(String::from_utf8_lossy(statement.column_bytes(0)).into_owned());
            }
            Ok(names)
        })
    }

    fn dump(&mut self, name: String, rows_max: u32) -> TableDump {
        let mut dump = TableDump {
            name,
            columns: Vec::new(),
            rows: Vec::new(),
            total: 0,
            error: None,
        };
        if let Err(error) = self.fill(&mut dump, rows_max) {
            dump.error = Some(error.to_string());
        }
        dump
    }

    /// As a guest, not as the host: a virtual table can name any table as its content.
    fn fill(&mut self, dump: &mut TableDump, rows_max: u32) -> Result<(), StorageError> {
        let name = dump.name.replace('"', "\"\"");
        // Columns can be computed.
        let heap = std::sync::Arc::clone(&self.heap);
        let _counted = heap.enter();
        let text = format!("SELECT * FROM \"{name}\"");
        if let Some(mut statement) = self.prepared(&text)? {
            dump.rows = first_rows(&mut statement, rows_max).map_err(|failure| self.explain(failure))?;
            dump.columns = statement.column_names();
        }
        let text = format!("SELECT count(*) FROM \"{name}\"");
        if let Some(mut statement) = self.prepared(&text)?
            && statement.step().map_err(|failure| self.explain(failure))? == Step::Row
        {
            dump.total = u64::try_from(statement.column_integer(0)).unwrap_or(0);
        }
        Ok(())
    }

    fn prepared(&mut self, text: &str) -> Result<Option<Statement>, StorageError> {
        self.authorizer.begin_statement();
        Ok(self.prepare_guest(text)?.statement)
    }
}

/// The first rows, bounded in bytes as well.
fn first_rows(statement: &mut Statement, rows_max: u32) -> Result<Vec<Vec<Cell>>, Failure> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while rows.len() < rows_max as usize && statement.step()? == Step::Row {
        bytes += statement.row_bytes();
        if bytes > RESULT_BYTES_MAX && !rows.is_empty() {
            break;
        }
        let cells = (0..statement.column_count()).map(|column| match statement.bad_text(column) {
            Some(bytes) => Cell::NotUtf8(bytes.to_vec()),
            None => Cell::Value(statement.column(column)),
        });
        rows.push(cells.collect());
    }
    Ok(rows)
}
