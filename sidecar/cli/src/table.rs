//! Answers for people: columns, aligned.
//!
//! Owns widths and padding. Must not know what stands in the columns.

/// Rows under a header, each column as wide as its widest cell. Control characters are shown, not sent to the terminal:
/// keys and names of apps come from whoever sent them.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<Vec<String>> =
        std::iter::once(&header).chain(rows).map(|row| row.iter().map(shown).collect()).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A text that can not play with the terminal.
pub(crate) fn shown(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    match text.chars().any(char::is_control) {
        true => text.escape_debug().to_string(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a/b".to_owned(), "1".to_owned()], vec!["é".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["KEY", "N"], &rows), "KEY  N\na/b  1\né    22\n");
    }

    #[test]
    fn a_key_can_not_play_with_the_terminal() {
        let text = table(&["KEY"], &[vec!["a\u{1b}[2Jb".to_owned()]]);
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2Jb"), "{text}");
    }
}
