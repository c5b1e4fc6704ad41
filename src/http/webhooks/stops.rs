//! What an event of an account or a template stops at once. Pure. What is stopped here goes on only by an operator's
//! word, like everything that Meta refused, but for a paused template that Meta approves again: its first pauses are of hours
//! (<https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-pausing>).

use crate::cloud::webhook::{AccountEvent, Restriction, TemplateEvent};
use crate::queue::halts::Scope;

/// Codes of Meta whose rows of the error table say why.
mod codes {
    pub(super) const ACCOUNT_RESTRICTED: i64 = 368;
    pub(super) const MISCLASSIFIED: i64 = 131_064;
    pub(super) const TEMPLATE_MISSING: i64 = 132_001;
    pub(super) const TEMPLATE_PAUSED: i64 = 132_015;
    pub(super) const TEMPLATE_DISABLED: i64 = 132_016;
}

/// What an event of `account` stops, and the code that says why; None: nothing.
pub(super) fn stop(account: &str, event: &AccountEvent) -> Option<(Scope, i64)> {
    let whole = |code| Some((Scope::Account(account.to_owned()), code));
    match event {
        AccountEvent::Disabled | AccountEvent::Deleted => whole(codes::ACCOUNT_RESTRICTED),
        AccountEvent::Restricted(restrictions) => restrictions.iter().find_map(|one| match one {
            Restriction::BusinessInitiated => whole(codes::ACCOUNT_RESTRICTED),
            // Templates are all that we send, and these are nearly all of them.
            Restriction::UtilityTemplates => whole(codes::MISCLASSIFIED),
            Restriction::CustomerInitiated | Restriction::Other(_) => None,
        }),
        // A halt knows no languages: it stops the template in all of them until somebody has looked.
        AccountEvent::Template { name, event, .. } => {
            let code = match event {
                TemplateEvent::Paused => codes::TEMPLATE_PAUSED,
                TemplateEvent::Disabled => codes::TEMPLATE_DISABLED,
                TemplateEvent::Rejected | TemplateEvent::Deleted => codes::TEMPLATE_MISSING,
                TemplateEvent::Approved | TemplateEvent::Other(_) => return None,
            };
            Some((Scope::Template(format!("{account}/{name}")), code))
        }
        _ => None,
    }
}

/// What an event of `account` lets go on, and the code for which it must have been stopped; None: nothing.
pub(super) fn goes_on(account: &str, event: &AccountEvent) -> Option<(Scope, i64)> {
    match event {
        AccountEvent::Template { name, event: TemplateEvent::Approved, .. } => {
            Some((Scope::Template(format!("{account}/{name}")), codes::TEMPLATE_PAUSED))
        }
        _ => None,
    }
}

/// Whether somebody should look at an event although it stops nothing.
pub(super) fn warns(event: &AccountEvent) -> bool {
    match event {
        AccountEvent::Alert { severity, .. } => severity != "INFORMATIONAL",
        AccountEvent::Capability { .. } | AccountEvent::Other(_) | AccountEvent::Update(_) => false,
        AccountEvent::Template { event, .. } => *event != TemplateEvent::Approved,
        AccountEvent::TemplateQuality { quality, .. } => quality == "RED" || quality == "YELLOW",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::classify::{ErrorTable, Kind};

    fn template(event: TemplateEvent) -> AccountEvent {
        AccountEvent::Template { name: "n".to_owned(), language: "pt_BR".to_owned(), event }
    }

    fn check(event: &AccountEvent, expect: Option<(&str, i64)>) {
        let stop = stop("100", event).map(|(scope, code)| (scope.to_string(), code));
        assert_eq!(stop, expect.map(|(scope, code)| (scope.to_owned(), code)), "{event:?}");
    }

    #[test]
    fn what_forbids_sending_stops_and_nothing_else() {
        let restricted =
            |restriction| AccountEvent::Restricted(vec![Restriction::CustomerInitiated, restriction]);
        check(&AccountEvent::Disabled, Some(("account:100", 368)));
        check(&AccountEvent::Deleted, Some(("account:100", 368)));
        check(&restricted(Restriction::BusinessInitiated), Some(("account:100", 368)));
        check(&restricted(Restriction::UtilityTemplates), Some(("account:100", 131_064)));
        check(&restricted(Restriction::Other("X".to_owned())), None);
        check(&AccountEvent::DisableScheduled, None);
        check(&AccountEvent::Reinstated, None);
        check(&template(TemplateEvent::Paused), Some(("template:100/n", 132_015)));
        check(&template(TemplateEvent::Disabled), Some(("template:100/n", 132_016)));
        check(&template(TemplateEvent::Rejected), Some(("template:100/n", 132_001)));
        check(&template(TemplateEvent::Approved), None);
        check(&template(TemplateEvent::Other("FLAGGED".to_owned())), None);
    }

    #[test]
    fn every_code_of_a_stop_is_a_halt_of_the_table() {
        use codes::{
            ACCOUNT_RESTRICTED, MISCLASSIFIED, TEMPLATE_DISABLED, TEMPLATE_MISSING, TEMPLATE_PAUSED,
        };
        let table = ErrorTable::builtin();
        for code in [ACCOUNT_RESTRICTED, MISCLASSIFIED, TEMPLATE_MISSING, TEMPLATE_PAUSED, TEMPLATE_DISABLED]
        {
            assert_eq!(table.code(code).unwrap().kind, Kind::Halt, "{code}");
        }
    }
}
