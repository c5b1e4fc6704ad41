//! Signatures: HMAC-SHA256 over the raw bytes with the secret of an app, compared in constant time.
//!
//! The account named inside a body picks nothing: it is not believed before the signature holds. So every secret is
//! tried, each of them always, and the accounts of the one that fits are those that the body may speak of.

use std::collections::BTreeSet;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::config::AccountConfig;

type HmacSha256 = Hmac<Sha256>;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 32;

/// What a header says the signature is.
pub(super) struct Signature([u8; SIGNATURE_BYTES]);

/// Accounts that share the secret of an app.
pub(super) type Accounts = Arc<BTreeSet<String>>;

/// The secrets of all apps.
pub(super) struct Secrets(Vec<(HmacSha256, Accounts)>);

impl Secrets {
    pub(super) fn new(accounts: &[AccountConfig]) -> Self {
        let mut apps: Vec<(&str, BTreeSet<String>)> = Vec::new();
        for account in accounts {
            let Some(secret) = &account.app_secret else { continue };
            match apps.iter_mut().find(|(known, _)| *known == &*secret.0) {
                Some((_, of)) => drop(of.insert(account.id.clone())),
                None => apps.push((&secret.0, BTreeSet::from([account.id.clone()]))),
            }
        }
        Self(apps.into_iter().map(|(secret, of)| (keyed(secret.as_bytes()), Arc::new(of))).collect())
    }

    /// The accounts of the app that signed a body; None: none of ours did.
    pub(super) fn signer(&self, signature: &Signature, body: &[u8]) -> Option<Accounts> {
        let mut signer = None;
        for (secret, accounts) in &self.0 {
            let mut mac = secret.clone();
            mac.update(body);
            if mac.verify_slice(&signature.0).is_ok() {
                signer = Some(accounts.clone());
            }
        }
        signer
    }
}

impl Signature {
    /// The signature of a header; None: it has not the form of one.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        from_hex(header.strip_prefix(b"sha256=")?).map(Self)
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(super) fn same(ours: &str, theirs: &str) -> bool {
    let mut mac = keyed(ours.as_bytes());
    mac.update(theirs.as_bytes());
    let mut own = keyed(ours.as_bytes());
    own.update(ours.as_bytes());
    own.verify(&mac.finalize().into_bytes()).is_ok()
}

fn keyed(secret: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn from_hex(text: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
    if text.len() != 2 * SIGNATURE_BYTES {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; SIGNATURE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use crate::domain::calendar::OwnHours;

    fn account(id: &str, app_secret: Option<&str>) -> AccountConfig {
        let secret = |text: &str| Secret(text.into());
        AccountConfig {
            id: id.to_owned(),
            portfolio: None,
            rate_per_s: None,
            token: secret("t"),
            app_secret: app_secret.map(secret),
            calendar: OwnHours::default(),
        }
    }

    fn secrets() -> Secrets {
        Secrets::new(&[
            account("1", Some("one")),
            account("2", None),
            account("3", Some("key")),
            account("4", Some("key")),
        ])
    }

    /// HMAC-SHA256 of "The quick brown fox jumps over the lazy dog" with "key", as published.
    const SIGNED: &str = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    const BODY: &[u8] = b"The quick brown fox jumps over the lazy dog";

    fn check(header: &str, body: &[u8], expect: Option<&[&str]>) {
        let signer = Signature::read(header.as_bytes()).and_then(|one| secrets().signer(&one, body));
        let ids = signer.map(|accounts| accounts.iter().cloned().collect::<Vec<_>>());
        assert_eq!(ids, expect.map(|all| all.iter().map(|id| (*id).to_owned()).collect()), "{header}");
    }

    #[test]
    fn a_signature_says_for_which_accounts_it_stands() {
        check(SIGNED, BODY, Some(&["3", "4"]));
        check(&SIGNED.to_uppercase().replace("SHA256", "sha256"), BODY, Some(&["3", "4"]));
    }

    #[test]
    fn whatever_is_not_exactly_it_is_refused() {
        check(SIGNED, &BODY[1..], None);
        check(SIGNED, b"", None);
        check(&SIGNED[..SIGNED.len() - 1], BODY, None);
        check(&SIGNED.replace('f', "e"), BODY, None);
        check(&SIGNED.replace("sha256=", "sha1="), BODY, None);
        check(&SIGNED.replace("sha256=", ""), BODY, None);
        check(&format!("sha256={}", "zz".repeat(32)), BODY, None);
        check("", BODY, None);
        let signed = Signature::read(SIGNED.as_bytes()).unwrap();
        assert!(Secrets::new(&[account("2", None)]).signer(&signed, BODY).is_none());
    }

    #[test]
    fn tokens_are_the_same_or_not() {
        assert!(same("word", "word"));
        for other in ["", "wor", "words", "Word"] {
            assert!(!same("word", other), "{other}");
        }
    }
}
