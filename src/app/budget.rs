//! Budgets of accounts: what the configuration allows their portfolios, and what Meta said.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Config;
use crate::queue::QueueError;
use crate::queue::budget::{self, Budget, Budgets, Terms};
use crate::queue::connection::Connection;

/// What the portfolios of the configuration may use, by account. The script knows what Meta said, too, and keeps to the
/// smaller of both at any moment; here it decides who is counted at all.
///
/// # Errors
/// When Redis does not answer.
pub async fn read(connection: &mut Connection, config: &Config) -> Result<Budgets, QueueError> {
    let mut limited: BTreeMap<Arc<str>, u64> = BTreeMap::new();
    for portfolio in &config.portfolios {
        let said = budget::said(connection, &portfolio.id).await?;
        if let Some(people) = [portfolio.people_per_day, said].into_iter().flatten().min() {
            limited.insert(portfolio.id.clone(), people);
        }
    }
    let (window, margin) = (config.budget.window, config.budget.margin);
    let of_portfolio = |portfolio: &Arc<str>| {
        let people = Some(*limited.get(portfolio)?);
        Some(Arc::new(Budget { portfolio: portfolio.clone(), terms: Terms { people, window, margin } }))
    };
    let accounts = config.accounts.iter();
    let with_budget =
        accounts.filter_map(|account| Some((account.id.clone(), of_portfolio(account.portfolio.as_ref()?)?)));
    Ok(with_budget.collect())
}
