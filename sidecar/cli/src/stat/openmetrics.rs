//! The metrics page, read (OpenMetrics 1.0, as far as a sidecar writes it).
//!
//! Owns the syntax. Must not know which metrics there are.

/// One number of the page.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// All numbers of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Page(Vec<Sample>);

impl Page {
    /// Reads a page. Lines that are no samples are passed over.
    pub(super) fn read(text: &str) -> Page {
        Page(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// A number that has no labels; 0 if it is missing, as a counter is before it counts.
    pub(super) fn value(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|sample| sample.name == name && sample.labels.is_empty());
        found.map_or(0.0, |sample| sample.value)
    }

    /// The numbers of a name by one of its labels, in the order of the page.
    pub(super) fn by(&self, name: &str, label: &str) -> Vec<(&str, f64)> {
        let of = |sample: &&Sample| sample.name == name;
        let labelled = |sample: &'_ Sample| sample.labels.iter().position(|(name, _)| name == label);
        let samples = self.0.iter().filter(of);
        samples
            .filter_map(|sample| Some((sample.labels[labelled(sample)?].1.as_str(), sample.value)))
            .collect()
    }

    /// The number of a name whose label has this value; 0 if it is missing.
    pub(super) fn of(&self, name: &str, label: &str, value: &str) -> f64 {
        self.by(name, label).into_iter().filter(|(found, _)| *found == value).map(|(_, number)| number).sum()
    }
}

/// `name{label="value",…} number`, with an optional time behind it.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquoted(quoted)?;
        labels.push((name.to_owned(), value));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// A value up to its closing quote, its escapes undone, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_and_label() {
        let page = Page::read(
            "# TYPE a counter\na_total{path=\"handoff\"} 3\na_total{path=\"store\",x=\"1\"} 4.5\nb 2\nb_sum 1e-3 1700\n# EOF\n",
        );
        assert_eq!(page.value("b"), 2.0);
        assert_eq!(page.value("b_sum"), 0.001);
        assert_eq!(page.value("a_total"), 0.0, "it has labels");
        assert_eq!(page.by("a_total", "path"), [("handoff", 3.0), ("store", 4.5)]);
        assert_eq!(page.of("a_total", "path", "store"), 4.5);
        assert_eq!(page.of("a_total", "path", "other"), 0.0);
    }

    #[test]
    fn values_of_labels_may_hold_anything() {
        let page = Page::read("a{l=\"x\\\"y\\\\z\\n}, 1\"} 7\n");
        assert_eq!(page.by("a", "l"), [("x\"y\\z\n}, 1", 7.0)]);
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        for text in ["", "a", "a{l=\"x} 1", "a{l} 1", "a x", "a{l=\"x\"}", "{", " 1 2 3}{"] {
            let page = Page::read(text);
            assert!(page.value("a") == 0.0 && page.by("a", "l").is_empty(), "{text}: {page:?}");
        }
    }
}
