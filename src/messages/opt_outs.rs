//! Who asked not to be texted: the table `opt_outs`. A person who writes STOP to one number of a company gets
//! nothing from any of its numbers until they write START; carriers themselves only guard the one number, and
//! answer the keyword.

use super::update::OptOut;
use crate::companies::Scope;
use crate::db::{self, Tx, sql};
use crate::kernel::phone::PhoneNumber;

/// Whether this number may not be texted.
///
/// # Errors
/// The database's.
pub fn is_opted_out(tx: &mut Tx<'_>, scope: Scope, number: &PhoneNumber) -> db::Result<bool> {
    let statement = "select 1 from opt_outs where company_id = ? and number = ?";
    Ok(tx.find::<(i64,)>(sql(statement).bind(scope.company()).bind(number))?.is_some())
}

/// Keeps what someone wished.
///
/// # Errors
/// The database's.
pub fn record(tx: &mut Tx<'_>, scope: Scope, number: &PhoneNumber, wish: OptOut) -> db::Result<()> {
    match wish {
        OptOut::Stop => {
            let statement = "insert into opt_outs (company_id, number, created_at) values (?, ?, ?)
                             on conflict do nothing";
            tx.execute(sql(statement).bind(scope.company()).bind(number).bind(tx.now()))?;
        }
        OptOut::Start => {
            let statement = "delete from opt_outs where company_id = ? and number = ?";
            tx.execute(sql(statement).bind(scope.company()).bind(number))?;
        }
        OptOut::Help => {}
    }
    Ok(())
}
