//! Results for build servers: JUnit's XML.
//!
//! Owns its spelling: the part that all readers of it understand.

use std::fmt::Write;
use std::time::Duration;

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The suite.
    pub suite: String,
    /// The case.
    pub name: String,
    /// What was not as expected; nothing if it passed.
    pub differences: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// All results as one document.
pub fn junit(all: &[Judged]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites{}>", totals(all));
    for suite in all.chunk_by(|a, b| a.suite == b.suite) {
        let _ = writeln!(xml, "  <testsuite name=\"{}\"{}>", escaped(&suite[0].suite), totals(suite));
        suite.iter().for_each(|judged| case(&mut xml, judged));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn totals(all: &[Judged]) -> String {
    let failures = all.iter().filter(|judged| !judged.differences.is_empty()).count();
    let took: Duration = all.iter().map(|judged| judged.took).sum();
    format!(" tests=\"{}\" failures=\"{failures}\" time=\"{:.6}\"", all.len(), took.as_secs_f64())
}

fn case(xml: &mut String, judged: &Judged) {
    let (suite, name, took) = (escaped(&judged.suite), escaped(&judged.name), judged.took.as_secs_f64());
    let _ = write!(xml, "    <testcase classname=\"{suite}\" name=\"{name}\" time=\"{took:.6}\"");
    match judged.differences.first() {
        None => xml.push_str("/>\n"),
        Some(first) => {
            let all = escaped(&judged.differences.join("\n"));
            let _ = writeln!(
                xml,
                ">\n      <failure message=\"{}\">{all}</failure>\n    </testcase>",
                escaped(first)
            );
        }
    }
}

/// As XML writes it, in attributes and between tags. What XML 1.0 can not say at all becomes a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(suite: &str, name: &str, differences: &[&str]) -> Judged {
        Judged {
            suite: suite.into(),
            name: name.into(),
            differences: differences.iter().map(|&d| d.into()).collect(),
            took: Duration::from_millis(2),
        }
    }

    #[test]
    fn suites_cases_and_failures() {
        let xml = junit(&[
            judged("acl", "one", &[]),
            judged("acl", "a < \"b\"", &["wanted <allow>\u{1}", "and more"]),
            judged("quota", "two", &[]),
        ]);
        assert_eq!(
            xml,
            r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" time="0.006000">
  <testsuite name="acl" tests="2" failures="1" time="0.004000">
    <testcase classname="acl" name="one" time="0.002000"/>
    <testcase classname="acl" name="a &lt; &quot;b&quot;" time="0.002000">
      <failure message="wanted &lt;allow&gt;?">wanted &lt;allow&gt;?&#10;and more</failure>
    </testcase>
  </testsuite>
  <testsuite name="quota" tests="1" failures="0" time="0.002000">
    <testcase classname="quota" name="two" time="0.002000"/>
  </testsuite>
</testsuites>
"#
        );
    }
}
