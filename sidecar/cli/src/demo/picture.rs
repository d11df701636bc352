//! A run of the demo as a picture: an SVG of the terminal that plays it again, and that is a whole still picture where
//! nothing moves.
//!
//! Owns the look of the terminal. Its background is its own, so that it reads well on a light page and on a dark one.

use super::stage::{Line, Span};
use crate::paint::Style;
use std::fmt::Write;

/// Of a letter, and between lines, in pixels.
const LETTER: f64 = 8.4;
const LINE: f64 = 20.0;
/// Around the text.
const MARGIN: f64 = 18.0;
/// For the title.
const TITLE: f64 = 34.0;
/// Letters of a line at least.
const COLUMNS_MIN: usize = 80;
/// How long the last picture stays before it starts again, in seconds.
const REST: f64 = 7.0;

/// The picture of these lines.
pub(super) fn of(lines: &[Line]) -> String {
    let columns = lines.iter().map(|line| letters(&line.spans)).max().unwrap_or_default().max(COLUMNS_MIN);
    let (width, height) =
        (columns as f64 * LETTER + 2.0 * MARGIN, TITLE + (lines.len() + 1) as f64 * LINE + MARGIN);
    let length = lines.last().map_or(0.0, |line| line.at.as_secs_f64()) + REST;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" xml:space=\"preserve\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" font-size=\"14\">\n\
         <title>sidelock demo</title>\n<style>g{{animation:{length:.2}s step-end infinite}}\n\
         @media(prefers-reduced-motion:reduce){{g{{animation:none}}}}\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let appears = 100.0 * line.at.as_secs_f64() / length;
        append(&mut svg, format_args!("@keyframes k{number}{{0%{{opacity:0}}{appears:.2}%{{opacity:1}}}}\n"));
    }
    append(
        &mut svg,
        format_args!(
            "</style>\n<rect width=\"100%\" height=\"100%\" rx=\"10\" fill=\"#161b22\"/>\n<rect x=\".5\" y=\".5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"10\" fill=\"none\" stroke=\"#444c56\"/>\n",
            width - 1.0,
            height - 1.0
        ),
    );
    for (x, colour) in [(20, "#ff5f57"), (40, "#febc2e"), (60, "#28c840")] {
        append(&mut svg, format_args!("<circle cx=\"{x}\" cy=\"18\" r=\"6\" fill=\"{colour}\"/>\n"));
    }
    let prompt = [(Style::Green, "$ ".to_owned()), (Style::Bold, "sidelock demo".to_owned())];
    row(&mut svg, 0, &prompt);
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| letters(&line.spans) > 0) {
        append(&mut svg, format_args!("<g style=\"animation-name:k{number}\">"));
        row(&mut svg, number + 1, &line.spans);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// One line of text. Each piece has its place, so that columns stand whatever the font is.
fn row(svg: &mut String, number: usize, spans: &[Span]) {
    let y = TITLE + (number as f64 + 0.8) * LINE;
    let mut column = 0;
    for (style, text) in spans {
        let (start, shown) = (text.chars().take_while(|c| *c == ' ').count(), text.trim());
        if !shown.is_empty() {
            let x = MARGIN + (column + start) as f64 * LETTER;
            let weight = if *style == Style::Bold { " font-weight=\"bold\"" } else { "" };
            append(
                svg,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{y:.0}\" fill=\"{}\" textLength=\"{:.1}\"{weight}>{}</text>",
                    colour(*style),
                    shown.chars().count() as f64 * LETTER,
                    escaped(shown)
                ),
            );
        }
        column += text.chars().count();
    }
}

fn letters(spans: &[Span]) -> usize {
    let text: String = spans.iter().map(|(_, text)| text.as_str()).collect();
    text.trim_end().chars().count()
}

fn colour(style: Style) -> &'static str {
    match style {
        Style::Plain => "#d1d7e0",
        Style::Dim => "#8b949e",
        Style::Bold => "#f0f6fc",
        Style::Green => "#56d364",
        Style::Yellow => "#e3b341",
        Style::Red => "#ff7b72",
        Style::Cyan => "#56d4dd",
        Style::Magenta => "#d2a8ff",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn append(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a String takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_appears_at_its_time_and_its_text_is_escaped() {
        let line = Line { at: Duration::from_secs(7), spans: vec![(Style::Red, "  a<b".into())] };
        let svg = of(&[line]);
        assert!(svg.contains("@keyframes k0{0%{opacity:0}50.00%{opacity:1}}"), "{svg}");
        assert!(svg.contains(">a&lt;b</text>") && svg.contains("#ff7b72"), "{svg}");
    }
}
