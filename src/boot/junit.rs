//! A report in the form of JUnit's XML, which tools for continuous integration read.

use std::fmt::Write as _;

use super::Report;
use crate::verify::Verdict;

/// The report as a test suite, each check a test case.
pub fn render(report: &Report) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a string does not fail.
    let _ = writeln!(
        xml,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escaped(&report.name),
        report.results.len(),
        report.failed,
        report.skipped,
        report.host_seconds
    );
    for result in &report.results {
        let name = escaped(&result.check);
        let _ = write!(xml, "  <testcase classname=\"boot\" name=\"{name}\"");
        let _ = match &result.verdict {
            Verdict::Passed => writeln!(xml, "/>"),
            Verdict::Warned { message } => writeln!(
                xml,
                "><system-out>{}</system-out></testcase>",
                escaped(message)
            ),
            Verdict::Failed { message } => writeln!(
                xml,
                "><failure message=\"{}\"/></testcase>",
                escaped(message)
            ),
            Verdict::Skipped { message } => writeln!(
                xml,
                "><skipped message=\"{}\"/></testcase>",
                escaped(message)
            ),
        };
    }
    if !report.console.is_empty() {
        let lines = escaped(&report.console.join("\n"));
        let _ = writeln!(xml, "  <system-out>{lines}</system-out>");
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// Text within XML: what XML 1.0 does not allow at all becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_xml_does_not_allow() {
        assert_eq!(
            escaped("a<b>&\"\u{1b}\n"),
            "a&lt;b&gt;&amp;&quot;\u{fffd}\n"
        );
    }
}
