//! `docs/from-*.md`: tables of two columns, whose right one is links. Rustdoc, which includes them, refuses links to what does not exist.

use std::collections::BTreeSet;

const DOCS: [(&str, &str); 2] = [
    ("from-gevent.md", include_str!("../../docs/from-gevent.md")),
    ("from-asyncio.md", include_str!("../../docs/from-asyncio.md")),
];

/// All of [`this`] kind in a text.
fn links(text: &str) -> BTreeSet<&str> {
    text.split("[`").skip(1).filter_map(|rest| Some(rest.split_once("`]")?.0)).collect()
}

#[test]
fn each_row_of_a_table_has_an_old_name_and_ours_as_a_link_or_says_why_there_is_none() {
    for (doc, text) in DOCS {
        let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
        for row in rows.filter(|row| !row.ends_with("| greenlet |")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let &["", old, ours, ""] = &cells[..] else { panic!("{doc}: this has not two columns: {row}") };
            assert!(!old.is_empty() && links(old).is_empty(), "{doc}: {row}");
            let has_none =
                ["later", "nothing", "call it", "drop it", "the same", "the main greenlet", "a value", "`for"];
            let is_said = has_none.iter().any(|start| ours.starts_with(start));
            assert!(is_said || !links(ours).is_empty(), "{doc}: no link, and no reason: {row}");
        }
    }
}

#[test]
fn each_link_has_its_target_at_the_end_of_the_text_and_no_target_is_without_a_link() {
    for (doc, text) in DOCS {
        let (targets, used): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("[`") && line.contains("`]: "));
        let (targets, used) = (targets.join("\n"), used.join("\n"));
        assert_eq!(links(&targets), links(&used), "{doc}");
    }
}
