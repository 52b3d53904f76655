//! Which request is which. Every address of the page is in the table, and has one method.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    Page,
    Apps,
    Components,
    Upload,
    Start,
    Call,
    Abort,
    Delete,
    Clone,
}

/// Why a request is none of them.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    Path,
    /// With the methods that the address has.
    Method(&'static str),
}

const READ: &str = "GET, HEAD";
const ACT: &str = "POST";

const ROUTES: [(&str, &str, Route); 9] = [
    ("/", READ, Route::Page),
    ("/api/apps", READ, Route::Apps),
    ("/api/components", READ, Route::Components),
    ("/api/upload", ACT, Route::Upload),
    ("/api/start", ACT, Route::Start),
    ("/api/call", ACT, Route::Call),
    ("/api/abort", ACT, Route::Abort),
    ("/api/delete", ACT, Route::Delete),
    ("/api/clone", ACT, Route::Clone),
];

pub(crate) fn find(method: &str, path: &str) -> Result<Route, Miss> {
    let found = ROUTES.iter().find(|(known, _, _)| *known == path);
    let &(_, methods, route) = found.ok_or(Miss::Path)?;
    if methods.split(", ").any(|known| known == method) {
        Ok(route)
    } else {
        Err(Miss::Method(methods))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_methods() {
        assert_eq!(find("GET", "/"), Ok(Route::Page));
        assert_eq!(find("HEAD", "/api/apps"), Ok(Route::Apps));
        assert_eq!(find("POST", "/api/clone"), Ok(Route::Clone));
        assert_eq!(find("POST", "/"), Err(Miss::Method("GET, HEAD")));
        // What changes something cannot be done by following a link.
        assert_eq!(find("GET", "/api/delete"), Err(Miss::Method("POST")));
        assert_eq!(find("GET", "/api/apps/"), Err(Miss::Path));
        assert_eq!(find("GET", ""), Err(Miss::Path));
    }
}
