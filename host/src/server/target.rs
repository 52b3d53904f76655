//! What a path asks for. Each part is decoded once, here, so that who is let in and what is then called cannot differ.

use std::borrow::Cow;

use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::ObjectRef;
use crate::error::CallError;

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'p> {
    /// `/`
    Front,
    /// `/healthz`
    Health,
    /// `/rpc/namespace/object/method`
    Rpc {
        namespace: Cow<'p, str>,
        object: ObjectRef,
        method: Cow<'p, str>,
    },
    /// `/o/namespace/object/...`; `rest` is what follows, as it came.
    Http {
        namespace: Cow<'p, str>,
        object: ObjectRef,
        rest: &'p str,
    },
    /// `/o/namespace/object`, which should end in `/`.
    Folder,
    /// `/admin/...`
    Admin(Admin<'p>),
}

/// What an operator asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admin<'p> {
    /// `tree/namespace/object`
    Tree { namespace: Cow<'p, str>, object: ObjectRef },
    /// `rows/namespace/object`
    Rows { namespace: Cow<'p, str>, object: ObjectRef },
    /// `classes`
    Classes,
    /// Anything else.
    Unknown,
}

impl<'p> Target<'p> {
    /// Of a path as it came, without its query.
    pub(super) fn parse(path: &'p str) -> Result<Self, CallError> {
        let unknown = || CallError::not_found("no such address here");
        let mut parts = path.strip_prefix('/').ok_or_else(unknown)?.splitn(4, '/');
        let mut part = || parts.next();
        match (part(), part(), part(), part()) {
            (Some(""), None, ..) => Ok(Self::Front),
            (Some("healthz"), None, ..) => Ok(Self::Health),
            (Some("rpc"), Some(namespace), Some(object), Some(method)) if !method.contains('/') => Ok(Self::Rpc {
                namespace: decode(namespace)?,
                object: decode_object(object)?,
                method: decode(method)?,
            }),
            (Some("o"), Some(namespace), Some(object), rest) => {
                let (namespace, object) = (decode(namespace)?, decode_object(object)?);
                Ok(match rest {
                    None => Self::Folder,
                    Some(rest) => Self::Http {
                        namespace,
                        object,
                        rest,
                    },
                })
            }
            (Some("admin"), what, namespace, object) => Ok(Self::Admin(match (what, namespace, object) {
                (Some("classes"), None, None) => Admin::Classes,
                (Some("tree"), Some(namespace), Some(object)) if !object.contains('/') => Admin::Tree {
                    namespace: decode(namespace)?,
                    object: decode_object(object)?,
                },
                (Some("rows"), Some(namespace), Some(object)) if !object.contains('/') => Admin::Rows {
                    namespace: decode(namespace)?,
                    object: decode_object(object)?,
                },
                (Some(_) | None, _, _) => Admin::Unknown,
            })),
            (Some(_) | None, ..) => Err(unknown()),
        }
    }

    /// True for the methods that it knows, and otherwise what to say in `Allow`.
    pub(super) fn check_method(&self, method: &Method) -> Result<(), &'static str> {
        match self {
            Self::Http { .. } | Self::Folder => Ok(()),
            Self::Rpc { .. } if method == Method::POST => Ok(()),
            Self::Rpc { .. } => Err("POST"),
            Self::Front | Self::Health | Self::Admin(_) if method == Method::GET || method == Method::HEAD => Ok(()),
            Self::Front | Self::Health | Self::Admin(_) => Err("GET, HEAD"),
        }
    }
}

fn decode(part: &str) -> Result<Cow<'_, str>, CallError> {
    if part.is_empty() {
        return Err(CallError::not_found(
            "no such address here: a part of the path is empty",
        ));
    }
    percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| CallError::invalid("the path should be UTF-8 behind its percent signs"))
}

fn decode_object(part: &str) -> Result<ObjectRef, CallError> {
    decode(part).map(|object| ObjectRef::parse(&object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_once() {
        let object = |name: &str| ObjectRef::Name(name.into());
        let rpc = |namespace: &'static str, name: &str, method: &'static str| {
            Ok(Target::Rpc {
                namespace: namespace.into(),
                object: object(name),
                method: method.into(),
            })
        };
        let http = |namespace: &'static str, name: &str, rest: &'static str| {
            Ok(Target::Http {
                namespace: namespace.into(),
                object: object(name),
                rest,
            })
        };
        let table = [
            ("/", Ok(Target::Front)),
            ("/healthz", Ok(Target::Health)),
            ("/rpc/app/demo/visit", rpc("app", "demo", "visit")),
            ("/rpc/%61pp/de%2Fmo/vi%20sit", rpc("app", "de/mo", "vi sit")),
            ("/rpc/app%2Fdemo/x/y", rpc("app/demo", "x", "y")),
            ("/rpc/app/%252F/y", rpc("app", "%2F", "y")),
            ("/rpc/app/100%/y", rpc("app", "100%", "y")),
            ("/rpc/../x/y", rpc("..", "x", "y")),
            (
                "/rpc/app/id%3Ax/y",
                Ok(Target::Rpc {
                    namespace: "app".into(),
                    object: ObjectRef::Id("x".into()),
                    method: "y".into(),
                }),
            ),
            ("/o/app/demo", Ok(Target::Folder)),
            ("/o/app/demo/", http("app", "demo", "")),
            ("/o/app/demo/a//b%2F/", http("app", "demo", "a//b%2F/")),
            ("/o/app/demo//", http("app", "demo", "/")),
            ("/admin/classes", Ok(Target::Admin(Admin::Classes))),
            ("/admin/classes/x", Ok(Target::Admin(Admin::Unknown))),
            ("/admin", Ok(Target::Admin(Admin::Unknown))),
            (
                "/admin/tree/a/b",
                Ok(Target::Admin(Admin::Tree {
                    namespace: "a".into(),
                    object: object("b"),
                })),
            ),
            ("/admin/tree/a/b/c", Ok(Target::Admin(Admin::Unknown))),
            (
                "/admin/rows/a/b",
                Ok(Target::Admin(Admin::Rows {
                    namespace: "a".into(),
                    object: object("b"),
                })),
            ),
            ("/rpc/app/demo", Err("not-found")),
            ("/rpc/app/demo/", Err("not-found")),
            ("/rpc/app/demo/a/b", Err("not-found")),
            ("/rpc//demo/a", Err("not-found")),
            ("/o//demo/", Err("not-found")),
            ("/o/app//x", Err("not-found")),
            ("/o/app", Err("not-found")),
            ("/healthz/", Err("not-found")),
            ("//rpc/a/b/c", Err("not-found")),
            ("/RPC/a/b/c", Err("not-found")),
            ("", Err("not-found")),
            ("*", Err("not-found")),
            ("/rpc/%ff/b/c", Err("invalid-argument")),
            ("/o/a/%ff/", Err("invalid-argument")),
        ];
        for (path, expected) in table {
            let found = Target::parse(path).map_err(|error| error.kind.word());
            assert_eq!(found, expected, "{path}");
        }
    }
}
