//! `facetd:runtime/storage`: transactions inside the turn, and the end of everything.

use wasmtime::component::Resource;

use crate::bindings::convert::{Answered, answered};
use crate::bindings::wit::facetd::runtime::storage::{Host, HostTransaction};
use crate::error::CallError;
use crate::isolate::FacetState;
use crate::storage::TxId;

/// `storage.transaction`.
#[derive(Debug)]
#[allow(unreachable_pub, reason = "generated code names it; its module is private")]
pub struct TransactionHandle(TxId);

impl Host for FacetState {
    fn begin(&mut self) -> Answered<Resource<TransactionHandle>> {
        self.alive()?;
        let begun = self.storage().begin();
        answered(match begun {
            Err(error) => Err(error.into()),
            Ok(id) => self
                .keep(TransactionHandle(id))
                .inspect_err(|_| self.lock_storage().drop_tx(id)),
        })
    }

    fn allow_unconfirmed(&mut self) -> wasmtime::Result<()> {
        self.alive()?;
        self.allow_unconfirmed_turn();
        Ok(())
    }

    fn delete_all(&mut self) -> Answered<()> {
        self.alive()?;
        if self.lock_storage().in_transaction() {
            let message = "delete-all cannot be undone by a transaction; commit or roll back first";
            return answered(Err(CallError::invalid(message)));
        }
        let emptied = self.storage().delete_all();
        if let Err(error) = emptied {
            return answered(Err(error.into()));
        }
        let node = self.control.node;
        self.decide(|tree, changes, kills| tree.delete_children(node, changes, kills))?;
        answered(Ok(()))
    }
}

impl HostTransaction for FacetState {
    fn commit(&mut self, transaction: Resource<TransactionHandle>) -> Answered<()> {
        self.alive()?;
        let id = self.table.get(&transaction)?.0;
        answered(self.storage().commit(id).map_err(Into::into))
    }

    fn rollback(&mut self, transaction: Resource<TransactionHandle>) -> wasmtime::Result<()> {
        self.alive()?;
        let id = self.table.get(&transaction)?.0;
        // One that ended with its turn is rolled back already.
        let _ = self.storage().rollback(id);
        Ok(())
    }

    fn drop(&mut self, transaction: Resource<TransactionHandle>) -> wasmtime::Result<()> {
        let TransactionHandle(id) = self.table.delete(transaction)?;
        self.lock_storage().drop_tx(id);
        Ok(())
    }
}
