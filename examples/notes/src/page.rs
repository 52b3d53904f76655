//! The notes as HTML. Everything that a user wrote goes through `escape_html`.

use facetd_sdk::http::escape_html as escape;

use crate::{Hit, Note};

pub(crate) fn list(count: i64, notes: &[Note]) -> String {
    let items = notes.iter().map(|note| item(note.id, &note.title, &note.body));
    page(&format!("{count} notes"), items)
}

pub(crate) fn found(query: &str, hits: &[Hit]) -> String {
    let items = hits.iter().map(|hit| item(hit.id, &hit.title, &hit.snippet));
    page(&format!("{} found for {query}", hits.len()), items)
}

fn item(id: i64, title: &str, text: &str) -> String {
    format!("<li id=\"note-{id}\"><b>{}</b> {}</li>\n", escape(title), escape(text))
}

fn page(title: &str, items: impl Iterator<Item = String>) -> String {
    let (title, items) = (escape(title), items.collect::<String>());
    format!("<!doctype html>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_stays_text() {
        let note = Note {
            id: 1,
            title: "<script>".into(),
            body: "a & b".into(),
            created: 0,
        };
        let html = list(1, &[note]);
        assert!(
            html.contains("<li id=\"note-1\"><b>&lt;script&gt;</b> a &amp; b</li>"),
            "{html}"
        );
        assert!(found("<i>", &[]).contains("<h1>0 found for &lt;i&gt;</h1>"));
    }
}
