//! Who is let in to which namespace, and how many at a time. One that does not exist is like one whose tokens the client
//! does not have, so that names cannot be tried out.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Access, Config, HttpConfig, Tokens};
use crate::error::{CallError, Kind};

/// A bearer token, bytes. Ours have 50.
const TOKEN_BYTES_MAX: usize = 512;

/// What the configuration says of all namespaces.
#[derive(Debug)]
pub(super) struct Gate {
    namespaces: HashMap<String, Entrance>,
    /// Some namespace wants tokens.
    guarded: bool,
}

#[derive(Debug)]
struct Entrance {
    access: Access,
    requests: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

/// Who asks was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    /// Nobody had to show anything; `Authorization` is the guest's.
    Public,
    /// A token was shown, to the host alone.
    Shown,
    Refused,
}

/// A request that was let in, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The host has read `Authorization`, so the guest does not see it.
    pub(super) token_shown: bool,
    bodies: Option<Arc<Semaphore>>,
    held: Vec<OwnedSemaphorePermit>,
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        let HttpConfig {
            namespace_requests_max,
            namespace_bodies_mib_max,
            ..
        } = config.host.http;
        let entrance = |access: &Option<Access>| Entrance {
            // Unset is refused before, where it is not public.
            access: access.clone().unwrap_or(Access::Public),
            requests: Arc::new(Semaphore::new(namespace_requests_max)),
            bodies: Arc::new(Semaphore::new(namespace_bodies_mib_max << 20)),
        };
        let namespaces = config.namespaces.iter();
        let namespaces: HashMap<_, _> = namespaces
            .map(|(name, namespace)| (name.clone(), entrance(&namespace.access)))
            .collect();
        let guarded = |entrance: &Entrance| matches!(entrance.access, Access::Tokens(_));
        Self {
            guarded: namespaces.values().any(guarded),
            namespaces,
        }
    }

    /// True if some namespace wants tokens.
    pub(super) fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// Lets a request in, or says why not.
    pub(super) fn admit(&self, namespace: &str, headers: &HeaderMap) -> Result<Admitted, CallError> {
        let token_shown = match self.verdict(namespace, bearer(headers)) {
            Verdict::Public => false,
            Verdict::Shown => true,
            Verdict::Refused => return Err(no_token()),
        };
        let Some(entrance) = self.namespaces.get(namespace) else {
            // The host will say that there is none.
            return Ok(Admitted {
                token_shown,
                bodies: None,
                held: Vec::new(),
            });
        };
        let Ok(permit) = entrance.requests.clone().try_acquire_owned() else {
            let message = "too many requests of this namespace are under way; try again later";
            return Err(CallError::limit("requests", message));
        };
        Ok(Admitted {
            token_shown,
            bodies: Some(entrance.bodies.clone()),
            held: vec![permit],
        })
    }

    fn verdict(&self, namespace: &str, token: Option<&[u8]>) -> Verdict {
        let shown = |tokens: &Tokens| match token {
            Some(token) if tokens.accept(token) => Verdict::Shown,
            Some(_) | None => Verdict::Refused,
        };
        match self.namespaces.get(namespace).map(|entrance| &entrance.access) {
            Some(Access::Public) => Verdict::Public,
            Some(Access::Tokens(tokens)) => shown(tokens),
            None if self.guarded => shown(&Tokens::default()),
            None => Verdict::Public,
        }
    }
}

impl Admitted {
    /// Counts a piece of a body that is kept in memory until the request is answered.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), CallError> {
        let Some(bodies) = &self.bodies else {
            return Ok(());
        };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match bodies.clone().try_acquire_many_owned(bytes) {
            Ok(permit) => match self.held.get_mut(1) {
                Some(held) => held.merge(permit),
                None => self.held.push(permit),
            },
            Err(_) => {
                let message = "too many arguments of calls to this namespace are in memory; try again later";
                return Err(CallError::limit("bodies", message));
            }
        }
        Ok(())
    }
}

/// Refused for want of a token; its status is 401.
pub(super) fn no_token() -> CallError {
    let message = "this needs a token, as `Authorization: Bearer <token>`: `facetd call` takes one from FACETD_TOKEN, and \
                   whoever runs the host makes one by `facetd token`";
    CallError::new(Kind::Denied, "token", message)
}

/// The one token of a request; none if it is not of the form.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let only = given.next().filter(|_| given.next().is_none())?.as_bytes();
    let (scheme, token) = only.split_at_checked("bearer ".len())?;
    let token = token.trim_ascii();
    let plain = token.iter().all(u8::is_ascii_graphic);
    let is_token = scheme.eq_ignore_ascii_case(b"bearer ") && plain && (1..=TOKEN_BYTES_MAX).contains(&token.len());
    is_token.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(access: &[(&str, Access)]) -> Gate {
        let mut config = Config::parse("").expect("an empty configuration is one");
        config.namespaces = access
            .iter()
            .map(|(name, access)| {
                let mut namespace: crate::config::NamespaceConfig = toml::from_str("class = \"c\"").expect("is one");
                namespace.access = Some(access.clone());
                ((*name).to_owned(), namespace)
            })
            .collect();
        config.host.http.namespace_requests_max = 2;
        config.host.http.namespace_bodies_mib_max = 1;
        Gate::new(&config)
    }

    fn mixed() -> Gate {
        gate(&[
            ("open", Access::Public),
            ("mine", Access::Tokens(Tokens::of(&["old", "new"]))),
            ("yours", Access::Tokens(Tokens::of(&["other"]))),
            ("shut", Access::Tokens(Tokens::default())),
        ])
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().expect("a header's value"));
        }
        headers
    }

    #[test]
    fn a_namespace_lets_in_who_shows_one_of_its_tokens() {
        use Verdict::{Public, Refused, Shown};
        let gate = mixed();
        let table = [
            ("open", None, Public),
            ("open", Some("old"), Public),
            ("open", Some("anything"), Public),
            ("mine", None, Refused),
            ("mine", Some("old"), Shown),
            ("mine", Some("new"), Shown),
            ("mine", Some("other"), Refused),
            ("mine", Some("ol"), Refused),
            ("mine", Some("oldd"), Refused),
            ("mine", Some("OLD"), Refused),
            ("yours", Some("other"), Shown),
            ("yours", Some("new"), Refused),
            ("shut", Some("new"), Refused),
            ("shut", None, Refused),
            ("nowhere", None, Refused),
            ("nowhere", Some("new"), Refused),
            ("Open", None, Refused),
            ("", None, Refused),
        ];
        for (namespace, token, expected) in table {
            let found = gate.verdict(namespace, token.map(str::as_bytes));
            assert_eq!(found, expected, "{namespace:?} with {token:?}");
        }
        let gate = super::tests::gate(&[("open", Access::Public)]);
        assert_eq!(
            gate.verdict("nowhere", None),
            Public,
            "nothing is hidden where nothing is guarded"
        );
    }

    #[test]
    fn an_unknown_namespace_is_refused_in_the_words_of_a_guarded_one() {
        let gate = mixed();
        let refused = |namespace, given: &[&str]| gate.admit(namespace, &headers(given)).expect_err("no token");
        for given in [&[][..], &["Bearer wrong"], &["Bearer other"]] {
            assert_eq!(refused("mine", given), refused("nowhere", given));
        }
    }

    #[test]
    fn one_bearer_token_is_read() {
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX));
        let table = [
            (vec!["Bearer t"], Some("t")),
            (vec!["bearer t"], Some("t")),
            (vec!["BEARER   t "], Some("t")),
            (vec![long.as_str()], Some(&long["Bearer ".len()..])),
            (vec![], None),
            (vec!["Bearer"], None),
            (vec!["Bearer "], None),
            (vec!["Bearert"], None),
            (vec!["Basic dTpw"], None),
            (vec!["t"], None),
            (vec![""], None),
            (vec!["Bearer a b"], None),
            (vec!["Bearer t", "Bearer t"], None),
            (vec!["Bearer\tt"], None),
        ];
        for (values, expected) in table {
            assert_eq!(bearer(&headers(&values)), expected.map(str::as_bytes), "{values:?}");
        }
        assert_eq!(bearer(&headers(&[&format!("{long}x")])), None, "too long");
    }

    #[test]
    fn a_namespace_takes_so_many_requests_and_bytes_and_no_more() {
        let gate = mixed();
        let admit = || gate.admit("open", &HeaderMap::new());
        let mut first = admit().expect("the first of two");
        let second = admit().expect("the second of two");
        assert_eq!(admit().expect_err("a third").code, "requests");
        drop(second);
        let mut second = admit().expect("there is room again");
        first.keep(512 << 10).expect("a half");
        second.keep(512 << 10).expect("another half");
        assert_eq!(first.keep(1).expect_err("one more").code, "bodies");
        drop(second);
        first.keep(1).expect("there is room again");
    }
}
