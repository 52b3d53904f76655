//! Who may speak to a namespace or to the admin API. Of a secret only its SHA-256 is kept: a token has 256 random bits, so
//! there is nothing to guess that a slow hash would protect.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;

/// How a hash begins in `facetd.toml`.
const HASH_PREFIX: &str = "sha256:";
/// How a token begins, so that people and scanners of repositories see what it is.
pub(crate) const TOKEN_PREFIX: &str = "facetd_";

/// `access` of a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Access {
    /// Whoever reaches the port.
    Public,
    /// Who shows one of these; nobody if there is none.
    Tokens(Tokens),
}

/// Several, so that one can be replaced by another while both are good.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tokens(Vec<TokenHash>);

/// SHA-256 of a token; none for what is no such thing, which [`crate::config::Config::read`] refuses.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TokenHash(Option<[u8; 32]>);

impl TokenHash {
    fn of(token: &[u8]) -> Self {
        Self(Some(Sha256::digest(token).into()))
    }

    fn parse(text: &str) -> Self {
        let mut hash = [0; 32];
        let hex = text.strip_prefix(HASH_PREFIX);
        Self(hex.and_then(|hex| hex::decode_to_slice(hex, &mut hash).ok().map(|()| hash)))
    }
}

impl Tokens {
    /// Those whose secrets are these.
    #[cfg(test)]
    pub(crate) fn of(secrets: &[&str]) -> Self {
        Self(secrets.iter().map(|secret| TokenHash::of(secret.as_bytes())).collect())
    }

    /// True if the token is one of these. Takes as long for one that is nearly right as for one that is not.
    pub(crate) fn accept(&self, token: &[u8]) -> bool {
        let TokenHash(given) = TokenHash::of(token);
        let given = given.unwrap_or_default();
        let right = |right: &[u8; 32]| right.ct_eq(&given);
        // Compared with all, so that time does not tell which one it was either.
        let found = self.0.iter().filter_map(|hash| hash.0.as_ref()).map(right);
        found.fold(subtle::Choice::from(0), |any, this| any | this).into()
    }

    /// What is wrong with them, without saying what they are: a secret may have been put there by mistake.
    pub(crate) fn check(&self, place: &str) -> Result<(), String> {
        match self.0.iter().position(|hash| hash.0.is_none()) {
            None => Ok(()),
            Some(at) => Err(format!(
                "token {} of {place} should be {HASH_PREFIX} and 64 hexadecimal digits: only the hash of a token belongs in \
                 the configuration; `facetd token` makes a token and prints both",
                at + 1
            )),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Never fails, for TOML's errors show the line: what is no list of hashes becomes one that `check` refuses.
impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(values) => {
                let hash = |value: &toml::Value| TokenHash::parse(value.as_str().unwrap_or_default());
                Self(values.iter().map(hash).collect())
            }
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Table(_) => Self(vec![TokenHash(None)]),
        })
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Listed {
            tokens: Option<Tokens>,
        }

        impl<'de> Visitor<'de> for Either {
            type Value = Access;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"public\", or { tokens = [\"sha256:...\"] } with what `facetd token` prints")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Access, E> {
                match text {
                    "public" => Ok(Access::Public),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Other("another text"), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Access, A::Error> {
                let Listed { tokens } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                let none = || A::Error::invalid_value(serde::de::Unexpected::Map, &self);
                Ok(Access::Tokens(tokens.ok_or_else(none)?))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A new token, and its hash as `facetd.toml` wants it.
pub(crate) fn new_token() -> std::io::Result<(String, String)> {
    use base64::Engine as _;
    let mut secret = [0; 32];
    crate::sys::random::fill(&mut secret)?;
    let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    let token = format!("{TOKEN_PREFIX}{secret}");
    let hash = format!("{HASH_PREFIX}{}", hex::encode(Sha256::digest(token.as_bytes())));
    Ok((token, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_accepted_by_its_hash_and_no_other() {
        let (token, hash) = new_token().expect("the system has randomness");
        let (other, _) = new_token().expect("the system has randomness");
        let tokens = Tokens(vec![TokenHash::of(b"an older one"), TokenHash::parse(&hash)]);
        assert!(tokens.check("x").is_ok());
        assert!(tokens.accept(token.as_bytes()) && tokens.accept(b"an older one"));
        assert!(!tokens.accept(other.as_bytes()) && !tokens.accept(hash.as_bytes()) && !tokens.accept(b""));
        assert!(!Tokens::default().accept(token.as_bytes()));
    }

    #[test]
    fn what_is_no_hash_is_refused_unseen() {
        let hash = "0".repeat(64);
        for bad in [
            "facetd_secret",
            "",
            "sha256:",
            &hash,
            &format!("sha256:{hash}0"),
            &format!("sha512:{hash}"),
        ] {
            let tokens = Tokens(vec![TokenHash::parse(bad)]);
            let said = tokens.check("[namespaces.n]").expect_err(bad);
            assert!(
                said.contains("[namespaces.n]") && said.contains("facetd token"),
                "{said}"
            );
            assert!(bad.is_empty() || bad == "sha256:" || !said.contains(bad), "{said}");
            assert!(!tokens.accept(bad.as_bytes()) && !tokens.accept(b""));
        }
        assert!(
            Tokens(vec![TokenHash::parse(&format!("sha256:{hash}"))])
                .check("x")
                .is_ok()
        );
    }
}
